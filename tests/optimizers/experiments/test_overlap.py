"""Nothing that is trained on or shown is reported: further rows, demos of compiled programs, and data that changed meanwhile."""

import json
from collections import Counter

import dspy
import pytest
from scripted import scripted_lm

from optimizers.evaluation.leakage import Repeats
from optimizers.experiments.distillation import STANDS_IN_TEST, Distillation
from optimizers.experiments.grid import Grid
from optimizers.experiments.metrics import labelling_of
from optimizers.experiments.overlap import learned_from, overlap, refuse_trained_on, repeated_in
from optimizers.experiments.roles import Roles
from optimizers.experiments.run_job import MainJob
from optimizers.experiments.setup import Setup
from optimizers.jobs.jsonlines import read_lines
from optimizers.prompts.compilation import Compilation
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from programs.compiled.state import CompiledPrompts, question_digest
from programs.tasks.registry import load_task


def example(name, question, **fields):
    return dspy.Example(id=name, question=question, context="", answer="Rome", **fields).with_inputs("question", "context")


def teacher_rule(prompt):
    """Decomposes questions of the embedded task by its references."""
    known = {e.question: e for e in load_task("multihop").load("train", 12)}
    found = next((e for question, e in known.items() if question in prompt), None)
    if found is None:
        return "No decomposition" if "Max subquestions" in prompt else "Answer: unknown"
    if "Max subquestions" in prompt:
        return "\n".join(found.subquestions)
    return "\n".join([*found.sub_answers, f"Answer: {found.answer}"])


class ScriptedRoles(Roles):
    def _load(self, role):
        return scripted_lm(teacher_rule, f"openai/{role}")


def further(tmp_path, splits, **options):
    settings = {"teacher": "embedded/teacher", "augment": {"mask_entities": 3, "compose": 0.5}}
    config = RunConfig.model_validate(settings)
    task = load_task("multihop")
    setup = Setup(config, task, {"train": task.load("train", 12), **splits}, ScriptedRoles(config, tmp_path / "s"))
    made = Distillation(setup, labels=tmp_path, students=["S_D-R"], **options)
    made.label()
    return [row for row in made.screen()["S_D-R"].rows["decompose"] if "origin" in row], made


@pytest.mark.parametrize("split", ["test", "dev", "reported"])
def test_further_rows_never_repeat_a_question_that_is_reported(tmp_path, split):
    before, _ = further(tmp_path / "a", {})
    assert {row["origin"] for row in before} == {"mask_entities", "compose"}
    asked = [example(f"t{n}", row["question"].upper(), chain=["a", str(n)]) for n, row in enumerate(before)]
    after, made = further(
        tmp_path / "b", {} if split == "reported" else {split: asked}, **({"reported": asked} if split == "reported" else {})
    )
    assert not {row["question"].upper() for row in after} & {one.question for one in asked}
    lines = [line for line in read_lines(tmp_path / "b" / "rows.jsonl") if line["reason"] == STANDS_IN_TEST]
    assert {line["question"].upper() for line in lines} >= {before[0]["question"].upper()}
    assert all(not line["kept"] and line["sources"] and line["repeats"].startswith("t") for line in lines)
    found = labelling_of(tmp_path / "b")["by_policy"]["oracle"]
    assert found["left_out"] == len(lines) and found["kept"] == 12
    assert found["augmented"] == Counter(row["origin"] for row in after)
    learned = learned_from(made.splits, read_lines(tmp_path / "b" / "rows.jsonl"))
    assert overlap(learned[:12] + [one for one in learned if "~" in one.id], None, asked)["overlap"] == 0


def test_the_overlap_is_that_of_all_that_was_learned_from_or_shown():
    train, test = [example("1", "Where is Ann?")], [example("a", "where is ann"), example("b", "Where is Bob?"), example("c", "And Eve?")]
    assert overlap(learned_from({"train": train}, []), None, test) == {"overlap": 1, "near_overlap": 0, "same_passage": 0}
    assert overlap(learned_from({"dev": train}, []), None, test)["overlap"] == 1
    read = [one.copy(context="A passage.") for one in train], [one.copy(context="A  passage.\n") for one in test[1:]]
    assert overlap(*read[:1], None, read[1]) == {"overlap": 0, "near_overlap": 0, "same_passage": 2}
    rows = [{"id": "1~mask1", "question": "Where is Bob?", "origin": "mask_entities"}, {"id": "1", "question": "Where is Ann?"}]
    assert overlap(learned_from({"train": train}, rows), None, test)["overlap"] == 2
    assert overlap(learned_from({"train": train}, rows), None, test, repeated=["c"])["overlap"] == 3
    chained = [example("b", "Where is Bob?", chain=["Bob", "Rome"])]
    assert overlap(learned_from({}, rows), None, chained)["overlap"] == 1


def test_repeats_knows_exact_and_near_ones():
    question = "How many of the 40 apples that the old farmer sold on the market in May were red in the end?"
    repeats = Repeats([example("a", question), example("b", "Who?")])
    assert repeats.leak(example("1", question.upper())).kind == "exact"
    assert repeats.leak(example("1", question.replace("40", "41"))).kind == "near"
    assert repeats.leak(example("1", "Who is it?")) is None and repeats.leak(example("1", "who")).test_id == "b"


# Compiled programs


def program(folder, seed=0, questions=None, **demo):
    stage = {"signature": {"instructions": "x", "fields": []}, "demos": [], "traces": [], "train": [], "lm": None}
    about = {"stages": ["decompose", "solve"], "seed": seed, **({"questions": questions} if questions is not None else {})}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "program.json"
    demos = [{"context": "", "subquestions": ["a?"], **demo}] if demo else []
    path.write_text(json.dumps({"decompose": {**stage, "demos": demos}, "solve": stage, "adapters": {}, "compiled": about}))
    return path


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": f"Where does number {n} live?", "answer": "Rome"}) + "\n" for n in range(40)))
    return path


def settings(tmp_path, data, **given):
    common = {"out": str(tmp_path / "run"), "task": "jsonl", "task.path": str(data), "data.train": 12, "data.test": 4}
    return load_config("forgiving", {**common, **given})


def test_a_program_compiled_with_another_seed_is_refused_with_the_question_and_the_next_step(tmp_path, data):
    first = load_task("jsonl", path=str(data), seed=0).load("train", 28)
    other = load_task("jsonl", path=str(data), seed=1).load("test", 4)
    both = [one for one in other if one.question in {e.question for e in first}]
    assert both
    for path in (
        program(tmp_path / "demo", question=both[0].question.upper()),
        program(tmp_path / "noted", questions=[question_digest(both[0])]),
    ):
        given = {"teacher.program": str(path), "seed": 1}
        with pytest.raises(
            ValueError, match=r"1 test questions stand among the demos .*'Where does number \d+ live\?'.*--seed 0.*another file"
        ):
            MainJob(settings(tmp_path, data, **given))
        with pytest.raises(ValueError, match=r"jsonl test questions stand among"):
            Grid(
                settings(
                    tmp_path,
                    data,
                    **given,
                    **{"experiment.conditions": "teacher+teacher", "experiment.train": "jsonl", "experiment.test": "jsonl"},
                )
            )
        assert not (tmp_path / "run").exists()
    MainJob(settings(tmp_path, data, **{"teacher.program": str(program(tmp_path / "same", question=first[0].question))}))


def test_a_compilation_that_starts_from_a_program_is_not_chosen_by_its_demos(tmp_path, data):
    sizes = {"compile.train": 4, "compile.validation": 4, "compile.dev": 4}
    job = Compilation(settings(tmp_path, data, **sizes))
    for split in ("validation", "dev"):
        path = program(tmp_path / split, question=job.splits[split][0].question)
        with pytest.raises(ValueError, match=f"1 {split} questions stand among the demos"):
            Compilation(settings(tmp_path, data, **sizes, **{"teacher.program": str(path)}))


def test_a_demo_of_the_same_words_about_another_passage_is_another_question(tmp_path):
    asked = [dspy.Example(id="1", question="How many touchdowns?", context="One game.")]
    about_other = {"question": "How many touchdowns?", "context": "Another game."}
    assert CompiledPrompts.read(program(tmp_path / "a", **about_other)).shown(asked) == []
    assert CompiledPrompts.read(program(tmp_path / "b", **{**about_other, "context": "one game"})).shown(asked) == asked
    assert CompiledPrompts.read(program(tmp_path / "c", **{**about_other, "context": ""})).shown(asked) == asked
    assert CompiledPrompts.read(program(tmp_path / "d", questions=[], **{**about_other, "context": ""})).shown(asked) == asked
    noted = [question_digest({"question": "How many touchdowns?", "context": "Another game."})]
    assert CompiledPrompts.read(program(tmp_path / "e", questions=noted, **{**about_other, "context": ""})).shown(asked) == []


# Data that changed after a training


@pytest.mark.parametrize("label", ["Question: ", "[[ ## question ## ]]\n", "", '{"question": "'])
def test_a_student_is_not_asked_what_it_was_trained_on_before_the_data_changed(tmp_path, label):
    config = RunConfig.model_validate({"teacher": "embedded/teacher"})
    roles = ScriptedRoles(config, tmp_path)
    folder = roles.folder_of("S_D-R")
    folder.mkdir(parents=True)
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": f"{label}Where is Ann?"}, {"role": "assistant", "content": "x"}]
    (folder / "rows.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    test = [example("a", "where is ann"), example("b", "Where is?"), example("c", "Ann?")]
    assert [one.id for one in repeated_in(folder, [], test)] == ["a"]
    with pytest.raises(ValueError, match=r"S_D-R was trained on 1 of the test questions, the first: 'where is ann'.*--redo distill"):
        refuse_trained_on(roles, ["S_D-R"], [], test)
    # What is judged by chains and contexts is not judged by its words again.
    refuse_trained_on(roles, ["S_D-R"], [example("1", "Where is Ann?")], test)
    passage = [dspy.Example(id="a", question="Where is Ann?", context="Ann is in Rome.")]
    assert repeated_in(folder, [], passage) == []


@pytest.mark.parametrize("label", ["Subquestions: ", "[[ ## subquestions ## ]]\n"])
def test_a_subquestion_in_a_solvers_prompt_is_no_question_that_it_was_trained_on(tmp_path, label):
    content = f"Question: Where is her mother?\n{label}Where is Ann?\nWho is it?"
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": chat}) + "\n")
    asked = [example("a", "Where is Ann?"), example("b", "Who is it?"), example("c", "Where is her mother?")]
    assert [one.id for one in repeated_in(tmp_path, [], asked)] == ["c"]
