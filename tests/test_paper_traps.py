"""What went wrong in the experiments of the paper (arXiv 2402.15000) and in their released code, and does not here.

One test a trap. The LMs are scripted unless a test says otherwise: what is tested is what is asked, kept and counted.
"""

import ast
import functools
import json
import re
import shlex
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers.arguments import parse_settings
from optimizers.cli import main
from optimizers.conditions import ALL_CONDITIONS, DEFAULT_CONDITIONS, MATCHED, STUDENTS, expand_conditions, parse_condition
from optimizers.distill import BootstrapDistill
from optimizers.evaluation.costs import cost_per_question
from optimizers.evaluation.evaluate import evaluate
from optimizers.evaluation.leakage import find_leaks
from optimizers.evaluation.statistics import paired_comparison
from optimizers.evaluation.summary import summarise
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.grid import Grid
from optimizers.experiments.roles import Roles, slug
from optimizers.experiments.setup import Setup
from optimizers.experiments.students import RECIPES
from optimizers.experiments.variants import variants
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import train
from optimizers.jobs.jsonlines import read_lines
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import load_splits
from programs import Answer, Decompose, Interactive, ShortAnswer, SingleStage, Solve, TerseLineAdapter, TwoStage
from programs.decomposition import STATES, read_decomposition
from programs.lms.catalog import lm
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks.bamboogle import Bamboogle
from programs.tasks.base import Task
from programs.tasks.drop import Drop
from programs.tasks.gsm8k import GSM8K

ROOT = Path(__file__).parents[1]
PRICES = Prices(overrides={f"openai/{name}": (1.0, 10.0) for name in ("scripted", "teacher", "student", "solver")})
TERSE = {"decompose": "line-terse", "solve": "line-terse"}
QUIET = {"labelling": {"failure_share": 1, "threads": 1}, "screening": {"min_rows": 1}}


class People(Task):
    """The scripted teacher says Rome to everything: right where the number is odd."""

    name = "people"
    summary = "for tests"

    def load(self, split, limit=None):
        made = [
            dspy.Example(
                id=f"{split}{i}",
                context=f"Passage {i}.",
                question=f"Where, in {split}, is {i}?",
                answer="Rome" if i % 2 else "Oslo",
                subquestions=["Who is it?"],
            )
            for i in range(limit)
        ]
        return [example.with_inputs("context", "question") for example in made]


def reply(prompt):
    """Declines to decompose question 4, talks instead of decomposing question 5, and answers Rome."""
    if "Max subquestions" not in prompt:
        return "Ann\nRome\nAnswer: Rome" if "Subquestions" in prompt else "Reasoning: She said so.\nAnswer: Rome"
    if "is 4?" in prompt:
        return "No decomposition."
    return "It is Rome." if "is 5?" in prompt else "Who is it?\nWhere, if not here, is #1?"


class ScriptedRoles(Roles):
    """Every role is played by a scripted LM."""

    def _load(self, role):
        return scripted_lm(reply, f"openai/{role if role in ('teacher', 'solver') else 'student'}")


def two_stage(rule, **options):
    program = TwoStage(**options)
    program.set_lm(scripted_lm(rule))
    return program


def decomposing(text, **options):
    """What becomes of a decomposer's reply."""
    return two_stage(lambda prompt: text if "Max subquestions" in prompt else "Answer: Rome", **options)(question="Where?")


def right(task, answer, gold, **fields):
    """Whether the task's own scorer takes an answer for right."""
    return task.score(dspy.Example(question="q?", context="", answer=gold, **fields), dspy.Prediction(answer=answer)).value == 1


@pytest.fixture(autouse=True)
def _priced():
    with recording(Ledger(PRICES)):
        yield


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Every student of the grid, labelled and screened once: the distillation, and its rows by student and question."""
    folder = tmp_path_factory.mktemp("labels")
    config = RunConfig.model_validate(QUIET)
    splits = {"train": People().load("train", 6)}
    with recording(Ledger(PRICES)):
        made = Distillation(
            Setup(config, People(), splits, ScriptedRoles(config, folder / "student")), labels=folder, students=list(STUDENTS)
        )
        made.label()
        made.screen()
    return made, {(row["student"], row["id"]): row for row in read_lines(folder / "rows.jsonl")}


def target(rows, student, question="train0"):
    return rows[student, question]["messages"][-1]["content"]


# Conditions: what is compared with what


def test_single_stage_does_not_mix_up_decomposing_with_being_allowed_to_reason():
    """The paper's one-stage rows allow five words and no reasoning, so its gain conflates two things."""
    assert "five words" in ShortAnswer.instructions
    assert not any(
        "five" in signature.instructions for signature in (Answer, Solve, SingleStage(chain_of_thought=True).answer.predict.signature)
    )
    assert {"single-stage", "single-stage-cot"} <= set(DEFAULT_CONDITIONS)
    assert {"single-stage", "single-stage-cot", "single-stage-short"} <= set(ALL_CONDITIONS)


def test_a_condition_that_nobody_defined_is_no_condition():
    """Flags of the released code mean other things on other data sets (`g1`); a wrong one runs something else."""
    for name in ("teacher+S_E-P", "g1", "S_E-T+teacher", "single-stage@S_D-X"):
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            parse_condition(name)
    assert {condition.name for condition in map(parse_condition, ALL_CONDITIONS)} == set(ALL_CONDITIONS)


@pytest.mark.parametrize("condition", ALL_CONDITIONS)
def test_every_condition_runs(condition, tmp_path):
    """The released script raises in several branches (two values unpacked from one string, an undefined name)."""
    examples = People().load("test", 2)
    roles = ScriptedRoles(RunConfig(), tmp_path, demos=list)
    program = roles.program(parse_condition(condition), People(), examples)
    assert program(question=examples[0].question, context=examples[0].context).answer == "Rome"


@pytest.mark.parametrize(("adapter", "reasons"), [("line", True), ("chat", True), ("line-terse", False)])
def test_an_llm_reasons_in_the_interactive_form_as_in_the_others(adapter, reasons, tmp_path):
    """A dynamic form that guesses each answer would lose to the static one for that alone; trained models answer as they learned."""
    config = RunConfig.model_validate({"teacher": {"model": "embedded/teacher", "adapter": adapter}})
    program = ScriptedRoles(config, tmp_path, demos=list).program(parse_condition("interactive"), People(), [])
    assert isinstance(program.answer, dspy.ChainOfThought) is reasons


def test_the_format_of_a_solvers_target_is_told_apart_from_who_is_distilled(labelled):
    """That the solver cannot be distilled hangs on its target: without sub-answers DROP goes from 20 to 73 F1."""
    _, rows = labelled
    for student in ("S_E-T", "S_E-A"):
        assert rows[student, "train0"]["messages"][:-1] == rows[f"{student}(direct)", "train0"]["messages"][:-1]
    assert target(rows, "S_E-T") == "Ann\nRome\nAnswer: Rome"
    assert target(rows, "S_E-T(direct)") == "Answer: Rome"
    assert target(rows, "S_E-A(direct)") == "Answer: Oslo"


def test_decomposers_and_solvers_are_screened_alike_and_on_as_many_rows(labelled):
    """The paper screens decomposers only, and compares students of different numbers of rows."""
    _, rows = labelled
    assert RECIPES["S_D-R"].policy == RECIPES["S_E-R"].policy == "oracle"
    kept = {name: {key for student, key in rows if student == name and rows[student, key]["kept"]} for name in STUDENTS}
    assert kept["S_D-R"] == kept["S_E-R"] == {"train1", "train3"}
    messages = Counter(student for (student, _), row in rows.items() if row["messages"])
    assert messages[f"S_D-T{MATCHED}"] == messages[f"S_E-T{MATCHED}"] == 2 < messages["S_D-T"]


def test_a_student_that_is_asked_alone_has_its_own_prompt():
    """The code's rows without a decomposer are asked three different ways, by data set."""
    program = two_stage(lambda prompt: "Answer: Rome")
    program.run_solve("Where?", "Passage.", [])
    assert program.solve.lm.script.prompts == ["Context: Passage.\nQuestion: Where?"]


# Decompositions


def test_commas_stay_in_subquestions():
    """The released code deletes every comma of a subquestion on GSM8K and Bamboogle."""
    assert decomposing("How much is 1,000 + 2, in all?").subquestions == ["How much is 1,000 + 2, in all?"]


def test_a_question_about_a_main_question_stays():
    """The released code drops every line that has the words "main question"."""
    assert decomposing("What is the main question of Hamlet?").subquestions == ["What is the main question of Hamlet?"]


@pytest.mark.parametrize("words", ["No decomposition", "No decomposition.", '"no decomposition"', "**No decomposition**"])
def test_no_decomposition_is_a_state_and_no_empty_string(words):
    """In the released code it has no "?", so it becomes an empty list like any garbage; DROP's rows end it with a full stop."""
    assert (decomposing(words).state, decomposing(words).answer) == ("none_needed", "Rome")
    assert decomposing("I do not know.").state == "unparseable"


def test_no_decomposition_is_learned_as_it_is_asked_for(labelled):
    """The released rows end it with a full stop on one data set and not on the others."""
    _, rows = labelled
    assert target(rows, "S_D-T", "train4") == "No decomposition"
    assert "No decomposition" not in Decompose.instructions, "an LLM that is not trained writes it for every question"
    assert read_decomposition([target(rows, "S_D-T", "train4")], 3).state == "none_needed"


def test_a_missing_decomposition_is_no_silent_single_stage(tmp_path):
    """Where the file of decompositions is absent, the released script answers in one stage and says nothing."""
    dead = two_stage(lambda prompt: RuntimeError("no such file") if "Max subquestions" in prompt else "Answer: Rome")
    lines = evaluate(dead, People(), People().load("test", 2), out=tmp_path / "dead.jsonl")
    assert [line["score"] for line in lines] == [None, None]
    assert all(line["error"].endswith("no such file") and line["answer"] is None for line in lines)
    assert all("Max subquestions" in prompt for prompt in dead.solve.lm.script.prompts)
    lines = evaluate(two_stage(reply), People(), People().load("test", 6), out=tmp_path / "odd.jsonl")
    assert summarise(lines)["states"] == dict.fromkeys(STATES, 0) | {"ok": 4, "none_needed": 1, "unparseable": 1}


def test_an_unreadable_decomposition_does_not_end_the_process():
    """`extract_subqs` calls exit(0) on a reply that it cannot read: a success to whoever started it."""
    for garbage in ("", "\n\n", "ASSISTANT:", "{}", "1. 2. 3."):
        assert (decomposing(garbage).state, decomposing(garbage).answer) == ("unparseable", "Rome")


def test_the_limit_on_subquestions_is_checked():
    """The prompt allows three (two on Bamboogle, against the text), and nothing tells of decompositions with more."""
    found = decomposing("a?\nb?\nc?\nd?", max_subquestions=3)
    assert (found.state, found.subquestions) == ("over_limit", ["a?", "b?", "c?", "d?"])
    assert (GSM8K().max_subquestions, Drop().max_subquestions, Bamboogle().max_subquestions) == (3, 3, 2)
    assert "Max subquestions: 2" in two_stage_prompt(max_subquestions=2)


def two_stage_prompt(**options):
    program = two_stage(two_stage_rule, **options)
    program.run_decompose("Where?")
    return program.decompose.lm.script.prompts[0]


def test_a_subquestion_that_is_repeated_counts_once():
    """The released code asks the same subquestion as often as the decomposer wrote it."""
    assert decomposing("a?\n2. a?\nb?").subquestions == ["a?", "b?"]


# Prompts


def test_the_solver_sees_the_passage(labelled):
    """DROP's solver prompt for local models leaves the passage out."""
    program = two_stage(two_stage_rule, decomposer_sees_context=False)
    program(question="Where?", context="The passage.")
    assert "The passage." in program.solve.lm.script.prompts[-1]
    _, rows = labelled
    written = {key: row["messages"][-2]["content"] for key, row in rows.items() if row["messages"]}
    assert {student for student, _ in written} == set(STUDENTS)
    assert all(f"Passage {key.removeprefix('train')}." in prompt for (_, key), prompt in written.items())


@pytest.mark.parametrize("question", ["train0", "train4"])
def test_students_are_asked_as_they_were_trained(labelled, question):
    """The label of the subquestions stands in the solver's prompt at test and not in its training rows."""
    made, rows = labelled
    example = next(one for one in made.splits["train"] if one.id == question)
    program = two_stage(reply, adapters=TERSE)
    program(question=example.question, context=example.context)
    asked = program.solve.lm.script.prompts
    for student, prompt in (("S_D-T", asked[0]), ("S_E-T", asked[1]), ("S_E-A", asked[1]), ("S_E-R", asked[1])):
        if rows[student, question]["messages"]:
            assert rows[student, question]["messages"][-2]["content"] == prompt
    assert ("Subquestions:\n" in asked[1]) == (question == "train0")
    system = TerseLineAdapter().format_system_message(Solve)
    assert rows["S_E-T", question]["messages"][0] == {"role": "system", "content": system}


def interactive(follow_ups, **options):
    program, left = Interactive(**options), iter(follow_ups)
    program.follow_up.set_lm(scripted_lm(lambda prompt: next(left)))
    program.answer.set_lm(scripted_lm(lambda prompt: "Rome"))
    return program


def test_a_follow_up_comes_with_its_problem():
    """Self-ask follow-ups are sent without the problem text, and on GSM8K cannot be answered so."""
    program = interactive(["Who is it?", "Where is she?", "No follow-up"])
    program(question="Where is Ann?", context="Ann lives in Rome.")
    prompts = program.follow_up.lm.script.prompts + program.answer.lm.script.prompts
    assert len(prompts) == 6 and all("Ann lives in Rome." in prompt and "Where is Ann?" in prompt for prompt in prompts)


def test_an_asker_that_writes_the_whole_chain_is_asked_step_by_step_all_the_same():
    """`stop` is never passed, so that the model answers its own follow-ups in one reply."""
    program = interactive(["Who is it?\nAnn.\nWhere is Ann?\nSo the final answer is: Oslo", "No follow-up"])
    assert program(question="Where?").subquestions == ["Who is it?"]


def test_long_problems_are_not_cut_and_the_last_question_is_the_one_asked():
    """Self-ask prompts are cut at 2048 characters, and rebuilt from the follow-up in place of the question."""
    program = interactive(["Who is it?", "What?", "No follow-up"])
    program(question="Where is Ann?", context="So. " * 2000)
    last = program.answer.lm.script.prompts[-1]
    assert "So. " * 1999 in last and last.endswith("\nQuestion: Where is Ann?")


# Training rows


def test_a_second_sample_is_stored_as_itself(tmp_path):
    """Where sample 2 is the right one, the released GSM8K filter stores the failed subquestions of sample 1."""
    tries = Counter()

    def second_is_right(prompt):
        if "Max subquestions" not in prompt:
            return "Answer: Rome" if "Right one" in prompt else "Answer: Paris"
        question = prompt[prompt.index("Question: ") :].split("\n")[0]
        tries[question] += 1
        return "Wrong one?" if tries[question] == 1 else "Right one?"

    program = two_stage(second_is_right, adapters={"decompose": "line", "solve": "line"})
    options = {"policy": "oracle", "samples": 2, "temperature": 0.7, "threads": 1, "folder": tmp_path}
    examples = [example for example in People().load("train", 4) if example.answer == "Rome"]
    found = BootstrapDistill(People().metric, **options).prepare(program, trainset=examples)
    assert [(d.example_id, d.sample, d.reason) for d in found.decisions if d.kept] == [("train1", 1, None), ("train3", 1, None)]
    assert [(row["id"], row["sample"], row["messages"][-1]["content"]) for row in found.rows["decompose"]] == [
        ("train1", 1, "Right one?"),
        ("train3", 1, "Right one?"),
    ]


def test_screening_takes_one_sample_unless_told_otherwise():
    """The README's S_D-R is a union over two samples (`d2`), the paper's is a filter of one."""
    assert RunConfig().labelling.samples == 1
    assert RunConfig().screening.keep == "first"
    assert load_config("paper").labelling.samples == 1


def test_screening_and_scoring_have_one_rule(labelled):
    """The released filter, runtime score and evaluators have three matching rules, so that hyphenated golds never pass the filter."""
    made, _ = labelled
    assert made._distiller("S_D-R", RECIPES["S_D-R"]).metric == made.task.metric
    example = dspy.Example(answer="20-yard", answers=[["20-yard"]])
    assert Drop().metric(example, dspy.Prediction(answer="20-yard")) == Drop().score(example, dspy.Prediction(answer="20-yard")).value == 1


def test_rows_with_another_answer_than_their_chain_are_marked(labelled):
    """S_E-A puts the right answer on a chain that leads elsewhere, in a third of the rows and more, without a word."""
    _, rows = labelled
    for student in STUDENTS:
        marked = {key for name, key in rows if name == student and rows[name, key].get("overwritten")}
        assert marked == ({"train0", "train2", "train4"} if student.startswith("S_E-A") else set())
    assert target(rows, "S_E-A") == "Ann\nRome\nAnswer: Oslo"


def test_an_overwritten_answer_leaves_the_rest_as_it_was():
    """The released code replaces the last line where a phrase is missing, glues the answer on, and deletes double quotes."""
    outputs = {"sub_answers": ['He said "4, 5"', "no phrase here"], "answer": "5"}
    found = RECIPES["S_E-A"].rewrite(outputs, dspy.Example(answer="6"))
    assert found == {"sub_answers": ['He said "4, 5"', "no phrase here"], "answer": "6"}


def test_what_is_dropped_is_written_down_with_its_reason(labelled):
    """Screening loses data, uncounted; DROP's script writes no file at all."""
    made, rows = labelled
    assert set(rows) == {(student, f"train{i}") for student in STUDENTS for i in range(6)}
    reasons = {key: row["reason"] for (student, key), row in rows.items() if student == "S_D-R"}
    assert reasons == {f"train{i}": "wrong_answer" for i in (0, 2, 4)} | {"train1": None, "train3": None, "train5": "unparseable"}
    assert json.loads((made.labels / "labelling.json").read_text())["failures"] == {"unparseable": 1}


def test_every_call_is_kept_with_its_prompt_and_model(labelled):
    """The released outputs record neither prompt nor model nor version of a row."""
    made, rows = labelled
    calls = list(read_lines(made.labels / "traces.jsonl"))
    assert {call["model"] for call in calls} == {"openai/teacher"}
    assert all(call["key"] and call["prompt"] and call["stage"] in ("decompose", "solve", "answer") for call in calls)
    assert [message["role"] for message in rows["S_D-T", "train0"]["messages"]] == ["system", "user", "assistant"]


def test_one_bad_reply_costs_one_row_and_is_asked_again(tmp_path):
    """Any API error kills the released run; its retry decorator is defined and never used."""
    busy = two_stage(lambda prompt: RuntimeError("busy") if "is 2?" in prompt else reply(prompt))
    optimizer, examples = BootstrapDistill(folder=tmp_path, threads=1), People().load("train", 4)
    found = optimizer.prepare(busy, trainset=examples)
    assert [row["id"] for row in found.rows["decompose"]] == ["train0", "train1", "train3"]
    assert [decision.reason.split(":")[0] for decision in found.decisions if not decision.kept] == ["teacher_error"]
    again = two_stage(reply)
    assert len(optimizer.prepare(again, trainset=examples).rows["decompose"]) == 4
    assert len(again.decompose.lm.script.prompts) == 2


# Folders and resuming


def test_a_decomposition_is_found_by_what_was_asked_and_not_by_the_name_of_a_file(tmp_path):
    """The README decomposes with one seed in the file's name, and the solver looks for another."""
    program = two_stage(reply)
    counts = []
    for instructions in (Decompose.instructions, Decompose.instructions, "Other words."):
        program.decompose.signature = program.decompose.signature.with_instructions(instructions)
        BootstrapDistill(folder=tmp_path, threads=1).prepare(program, trainset=People().load("train", 2))
        counts.append(len(program.decompose.lm.script.prompts))
    # The solver's own prompts are the same in all three, so that only the two decompositions are asked for again.
    assert counts == [4, 4, 6]


def test_two_students_never_share_a_folder():
    """The README gives S_E-T and S_E-A the same backbone name, so the second "resumes" the first one's results."""
    assert len({slug(student).lower() for student in STUDENTS}) == len(STUDENTS)


def test_another_training_is_refused_in_a_folder_that_has_one(tiny):
    """A path made of backbone and seed takes other rows or settings for the same job."""
    with pytest.raises(ValueError, match="never overwritten"):
        train([], TrainingSpec(base=str(tiny.folder)), tiny.folder, name="tiny", adapter="line", base="x")


@pytest.fixture
def grid(tiny_model, tmp_path):
    """Two training tasks, one of whose training questions is a test question of the other."""
    for name, words in (("one", "cats"), ("two", "dogs")):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            rows = [{"question": f"How many {words} has {split} family {i}?", "answer": str(i)} for i in range(3)]
            rows[0]["question"] = "How many cats has test family 0?" if (name, split) == ("two", "train") else rows[0]["question"]
            (tmp_path / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = {name: {"name": "jsonl", "path": str(tmp_path / name)} for name in ("one", "two")}
    ablations = {"ablations": ["rows", "limit", "screening"], "training_seeds": [1, 2], "data_seeds": [1]}
    settings = {"train": ["one", "two"], "tasks": tasks, "data": {name: {"train": 3, "test": 3} for name in tasks}, **ablations}
    config = {"teacher": tiny_model, "student": tiny_model, "experiment": settings, "out": str(tmp_path / "out")}
    return Grid(RunConfig.model_validate(config))


def test_two_cells_never_share_a_file(grid):
    """Results keyed by backbone and seed collide: other trainings, other tasks, other variants."""
    cells = list(grid.cells())
    assert {cell.condition.name for cell in cells} == set(ALL_CONDITIONS)
    assert len({str(cell.path).lower() for cell in cells}) == len(cells)


def test_test_questions_among_the_training_questions_are_kept_out(grid):
    """No guard between training and test questions, in one data set or across two."""
    assert [(leak.test_question, leak.kind) for leak in grid.tasks["one"].leaks["two"]] == [("How many cats has test family 0?", "exact")]
    questions = [example.question for example in grid.tasks["one"].splits["test"]]
    assert questions == ["How many cats has test family 1?", "How many cats has test family 2?"]
    assert len(grid.tasks["two"].splits["test"]) == 3


def test_answers_are_taken_up_by_id_and_not_by_count(tmp_path):
    """Resuming goes by row counts: after a crash or with other questions, answers end up beside the wrong ones."""
    out, examples = tmp_path / "a.jsonl", People().load("test", 5)
    evaluate(two_stage(reply), People(), [examples[3], examples[1]], out=out)
    program = two_stage(reply)
    lines = evaluate(program, People(), examples, out=out)
    assert [(line["id"], line["question"]) for line in lines] == [(example.id, example.question) for example in examples]
    asked = {prompt.split("is ")[1][0] for prompt in program.solve.lm.script.prompts}
    assert asked == {"0", "2", "4"}


def test_the_last_partial_batch_is_not_lost(tmp_path):
    """The released batching drops what does not fill a batch."""
    from optimizers.finetune.sampler import BucketSampler

    lines = evaluate(two_stage(reply), People(), People().load("test", 7), out=tmp_path / "a.jsonl", threads=3)
    assert len(lines) == 7
    assert sorted(BucketSampler(range(7), 3, 0)) == list(range(7))


def test_a_failed_call_is_neither_wrong_nor_the_end(tmp_path):
    """An API error kills the run, and a missing prediction counts as wrong."""
    out, examples = tmp_path / "a.jsonl", [example for example in People().load("test", 6) if example.answer == "Rome"]
    broken = two_stage(lambda prompt: RuntimeError("busy") if "is 3?" in prompt else reply(prompt))
    first = summarise(evaluate(broken, People(), examples, out=out))
    assert (first["n"], first["scored"], first["score"], first["failed"]) == (3, 2, 1.0, 1)
    assert summarise(evaluate(two_stage(reply), People(), examples, out=out))["scored"] == 3


# Data


def test_bamboogle_is_not_trained_on_its_test_questions(tmp_path):
    """The released code trains and tests Bamboogle's students on the same 125 questions."""
    path = tmp_path / "bamboogle.csv"
    path.write_text("Question,Answer\n" + "".join(f"Who is number {i} of them?,Ann {i}\n" for i in range(20)))
    with pytest.raises(ValueError, match="holds no training split"):
        Bamboogle(path).load("train")
    divided = Bamboogle(path, fractions="0.5,0,0.5")
    assert find_leaks(divided.load("train"), divided.load("test")) == []


def test_questions_in_two_splits_are_refused():
    """No guard between training and test questions."""

    class Same(People):
        def load(self, split, limit=None):
            return super().load("both", limit)

    with pytest.raises(ValueError, match="2 questions stand both in train and in test"):
        load_splits(Same(), RunConfig.model_validate({"data": {"train": 2, "test": 3}}).data)


def test_fewer_questions_are_the_first_ones(tmp_path):
    """Some tables are of the last 200 rows of the test file, which nothing says."""
    path = tmp_path / "gsm8k_test.jsonl"
    path.write_text("".join(f'{{"question": "How many, {i}?", "answer": "#### {i}"}}\n' for i in range(9)))
    task = GSM8K(path)
    assert [example.answer for example in task.load("test", 4)] == ["0", "1", "2", "3"]
    assert task.load("test", 4) == task.load("test")[:4]


# Scoring (more in tests/programs/tasks)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("There are 3 cats. So the answer is: 7", "3"), ("16 - 3 = 13, and 13 - 4 = 9", "16"), ("3.75", "3"), ("5.5", "5"), ("", "18")],
)
def test_gsm8k_counts_the_final_number_as_it_is(answer, gold):
    """Gold anywhere in the reply counts, and decimals are cut to their integer part (a typo)."""
    assert not right(GSM8K(), answer, gold)


@pytest.mark.parametrize("answer", ["**18**", "(18)", "18!", "18,", "18%", "'18'", "The answer is:18", "$18.", "36/2"])
def test_gsm8k_reads_a_right_number_in_any_dress(answer):
    """None of these match in the released evaluator, or in one of its three versions only."""
    assert right(GSM8K(), answer, "18")


def test_gsm8k_takes_golds_that_are_no_integers():
    """The released evaluator ends in a ValueError on them."""
    for scoring in ("strict", "lenient"):
        assert right(GSM8K(scoring=scoring), "3.5", "3.5")


def test_the_numbers_of_the_prompt_are_no_answer():
    """Replies of local models are scored with the prompt in front, so that the problem's own numbers count."""
    program = two_stage(lambda prompt: "Answer: 7")
    prediction = program(question="Ann has 3 cats and 4 dogs. How many pets?")
    for scoring in ("strict", "lenient"):
        assert GSM8K(scoring=scoring).score(dspy.Example(answer="3"), prediction).value == 0


@pytest.mark.parametrize(
    ("answer", "golds"),
    [
        ("Manning; Brady", [["Brady", "Manning"]]),
        ("Chargers", [["Rams"], ["Chargers"], ["Rams"]]),
        ("The answer is: 4\n", [["4"]]),
        ("The answer is: 4.\n\nNote: hi", [["4"]]),
        ("12-15", [["12-15"]]),
    ],
)
def test_drop_reads_all_spans_all_alternates_and_the_whole_reply(answer, golds):
    """One span counts, alternates are ignored, a newline or a note behind the answer loses it."""
    assert right(Drop(), answer, golds[0][0], answers=golds)


@pytest.mark.parametrize(
    ("answer", "golds"),
    [("21", [["1"]]), ("hi", [["Rams"]]), ("Brady", [["Brady", "Manning"]]), ("3 kicks. The answer is: 7", [["3"]])],
)
def test_drop_needs_the_answer_and_all_of_it(answer, golds):
    """Gold anywhere in the reply passes ("1" in "21"), and the first of several spans is the whole answer."""
    assert not right(Drop(), answer, golds[0][0], answers=golds)


@pytest.mark.parametrize(
    ("answer", "gold", "ok"),
    [
        ("1971", "1", False), ("Not Madrid. " + "So it goes. " * 20 + "Madrid", "Madrid", False), ("it was drew carey", "Drew Carey", True),
        ("Aug 2nd 1776", "2 August 1776", True), ("Madrid. The answer is: Barcelona", "Madrid", False),
    ],
)  # fmt: skip
def test_bamboogle_compares_names_and_not_substrings(answer, gold, ok):
    """Gold as a substring of the whole reply passes; case and the form of a date fail a right one."""
    assert right(Bamboogle(), answer, gold) == ok


def test_bamboogle_takes_the_second_answer_too():
    """The sheet's second answer is not read."""
    assert right(Bamboogle(), "Mildred Gale", "Mildred Warner", aliases=["Mildred Gale"])


@pytest.mark.parametrize("task", [GSM8K, Drop, Bamboogle])
def test_an_empty_reply_is_wrong_and_an_empty_gold_is_no_question(task):
    """An empty reply raises IndexError, and an empty gold is a part of every reply."""
    for nothing in ("", " \n", None):
        assert not right(task(), nothing, "4", answers=[["4"]])
    assert task().score(dspy.Example(answer="", answers=[[""]]), dspy.Prediction(answer="anything")).is_unscored


def test_the_authors_rule_is_an_option_with_a_name():
    """Which of three evaluators made the published tables is unknown; here the rule stands with the figures."""
    for task in (GSM8K, Drop, Bamboogle):
        assert (task().scoring, task(scoring="lenient").scoring) == ("strict", "lenient")
    assert right(Bamboogle(scoring="lenient"), "1971", "1")


def test_empty_replies_are_counted_and_never_right(tmp_path):
    """With its GPT calls commented out, the released script writes empty strings and goes on."""
    mute = two_stage(lambda prompt: "")
    found = summarise(evaluate(mute, People(), People().load("test", 3), out=tmp_path / "a.jsonl"))
    assert (found["score"], found["unparsed"], found["states"]["unparseable"]) == (0.0, 3, 3)


# Decoding


@pytest.fixture(scope="module")
def backend(tiny):
    from programs.lms.backends.transformers import TransformersBackend

    return TransformersBackend(tiny.folder, "cpu")


def prompts_of(backend, count, **options):
    from programs.lms.backends.base import GenerateRequest
    from programs.lms.chat import render

    texts = [render(backend.tokenizer, [{"role": "user", "content": "so " * (7 * i)}]) for i in range(count)]
    return [GenerateRequest(text, **({"max_tokens": 4} | options)) for text in texts]


def test_a_batch_writes_what_each_prompt_writes_alone(backend):
    """Batched generation drops the attention mask, so that the padding on the left is read as text. A real, tiny model."""
    asked = prompts_of(backend, 4)
    assert [result.text for result in backend.generate(asked)] == [backend.generate([one])[0].text for one in asked]


def test_sampling_has_a_seed(backend):
    """Students are sampled at 0.7, and `--seed` only names files. A real, tiny model."""
    first, again, other = (backend.generate(prompts_of(backend, 2, temperature=0.7, seed=seed)) for seed in (1, 1, 2))
    assert [result.text for result in first] == [result.text for result in again] != [result.text for result in other]


def test_a_reply_has_its_tokens_whatever_the_prompt_has(backend):
    """A limit of 512 counts the prompt too, and a long problem leaves no room. A real, tiny model."""
    short, long = backend.generate([prompts_of(backend, 1)[0], prompts_of(backend, 21)[-1]])
    assert (short.output_tokens, long.output_tokens) == (4, 4)
    assert backend.generate([prompts_of(backend, 60)[-1]])[0].too_long


def test_decoding_is_greedy_where_nothing_else_is_said(tiny_model):
    """API models run at the provider's default temperature, students at 0.7, each once."""
    assert lm(tiny_model).kwargs["temperature"] == 0
    config = load_config("paper")
    models = [config.teacher, *config.experiment.solvers.values()]
    assert [model.temperature for model in models] == [0] * len(models)


# Seeds and noise


def test_a_seed_reaches_the_training():
    """No generator is seeded; the only seed is a part of file names."""
    config = RunConfig.model_validate({"seed": 3, "experiment": {"training_seeds": [1, 2], "data_seeds": [1]}})
    seeds = {v.name: (v.apply(config).training.seed, v.apply(config).screening.row_seed) for v in variants(config) if v.seeds}
    assert seeds == {f"seeds={draw},{seed},0": (3 + seed, draw) for draw in (0, 1) for seed in (0, 1, 2)}
    made = Distillation(Setup(config, People(), {"train": []}, ScriptedRoles(config, Path("none"))), labels=Path("none"), students=[])
    assert made._distiller("S_D-T", RECIPES["S_D-T"]).training.seed == 3


def test_a_difference_of_one_question_is_no_finding():
    """Single runs without intervals or tests: on 125 questions one of them is 0.8 points."""
    a = {str(i): float(i < 68) for i in range(125)}
    found = paired_comparison({**a, "124": 1.0}, a)
    assert found.low <= 0 < found.delta and found.p == 1
    lines = [{"score": score, "state": None, "error": None, "usage": {}} for score in a.values()]
    assert summarise(lines)["ci95"][1] - summarise(lines)["ci95"][0] > 0.16


# Cost


def test_input_tokens_cost_too():
    """Table 1 prices output tokens alone, counted as words by 4/3; a DROP passage then costs nothing."""
    usage = {"calls": 2, "input_tokens": 2000, "output_tokens": 20, "seconds": 2.0, "usd": None, "cache_hits": 0}
    cost = cost_per_question({"n": 2, "solve": usage}, {"solve": "openai/teacher"}, PRICES)["total"]
    assert (cost["input_tokens"], cost["usd"]) == (1000, pytest.approx((1000 * 1 + 10 * 10) / 1e6))
    assert cost["output_only_usd"] == pytest.approx(10 * 10 / 1e6)


def test_tokens_are_those_of_the_tokenizer_and_the_prompt_is_no_output(tiny_model):
    """Output is counted in words, for local models with the prompt in it. A real, tiny model."""
    program = SingleStage()
    program.set_lm(lm(tiny_model, max_tokens=3))
    usage = program(question="Where? " * 30).usage["answer"]
    assert usage["output_tokens"] <= 3 < 30 < usage["input_tokens"]


def test_a_local_model_costs_its_time_and_not_a_share_of_gpts_price():
    """13/175 of GPT's price per token, "a vague estimation", for a model that nobody sells."""
    prices = Prices(local_usd_per_hour=3.6)
    assert prices.usd("local/student", 10, 10, 1.0) == prices.usd("local/student", 10**6, 10**6, 1.0) == pytest.approx(0.001)
    assert Prices().usd("local/student", 10, 10, 1.0) is None


# Code


def test_models_are_pinned_and_written_down(tiny, tiny_model, labelled):
    """The teacher is an alias that names another model every few months."""
    assert re.fullmatch(r"local/[\w.-]+@[0-9a-f]{12}", lm(tiny_model).model)
    assert (tiny.manifest["name"], tiny.manifest["base"]) == ("tiny", "random")
    samples = read_lines(labelled[0].labels / "samples.jsonl")
    assert {model for sample in samples for models in sample["usage"].values() for model in models} == {"openai/teacher"}


def test_what_cannot_work_ends_in_an_error(monkeypatch, tmp_path, capsys):
    """An unknown model ends the released script by exit(0): a success to whoever started it."""
    monkeypatch.setattr(sys, "argv", ["divide-or-conquer", "run", "--teacher", "embedded/giant", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "embedded/giant" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@functools.cache
def trees():
    """Every module of the two packages, parsed, by its path."""
    paths = [path for package in ("programs", "optimizers") for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def imported(nodes):
    """Names of the modules that are imported by some statements."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_module_that_is_imported_is_there():
    """`metrics`, `process_drop` and `run_gpt_new2` are imported and not released."""
    names = {name for tree in trees().values() for name in imported(ast.walk(tree))}
    ours = {name for name in names if name.split(".")[0] in ("programs", "optimizers")}
    assert len(ours) > 30
    assert [name for name in sorted(ours) if find_spec(name) is None] == []


def test_models_behind_an_api_need_no_torch():
    """Torch and CUDA are imported even where every model is behind an API."""
    heavy = {"torch", "transformers", "trl", "peft", "openvino_genai"}
    found = {path for path, tree in trees().items() for name in imported(tree.body) if name.split(".")[0] in heavy}
    # The trainer's own process imports these, and whoever asks for a backend by its name that one.
    own = ("completion_head", "completion_loss", "dpo", "grpo", "mixed_precision", "regularise", "sampler", "tracker_callbacks")
    assert found == {"programs/lms/backends/continuous.py", *(f"optimizers/finetune/{name}.py" for name in own)}


def test_no_path_and_no_key_of_anybodys_is_in_the_code():
    """Paths of one cluster, and a file with a key that is read at import."""
    nodes = (node for tree in trees().values() for node in ast.walk(tree))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in texts if re.match(r"(/mnt|/home|/root|/work|/Users|\.\.?)/|sk-|.*key\.txt", text)] == []


def commands(page):
    """The settings of every `run` and `experiment` that a page of the documentation tells to type."""
    text = (ROOT / page).read_text().replace("\\\n", " ")
    found = re.findall(r"(?:^\s*|`)divide-or-conquer (?:run|experiment) ([^`\n#]*[@-][^`\n#]*)", text, re.MULTILINE)
    return [[word for word in shlex.split(words) if word != "--dry-run"] for words in found]


@pytest.mark.parametrize(("page", "least"), [("README.md", 1), ("docs/paper.md", 8)])
def test_commands_of_the_documentation_are_commands(page, least):
    """README commands lack values, have a dash that is none, and name the wrong student."""
    found = commands(page)
    assert len(found) >= least
    for words in found:
        config = load_config(*parse_settings(words))
        grid = config.experiment
        for name in [*config.conditions(), *expand_conditions(grid.conditions, grid.solvers), *grid.variant_conditions]:
            parse_condition(name, grid.solvers)


def test_every_condition_is_explained():
    """What a flag letter stands for has to be guessed from the code."""
    text = (ROOT / "docs" / "paper.md").read_text()
    assert [name for name in (*ALL_CONDITIONS, *STUDENTS) if f"`{name}`" not in text] == []
