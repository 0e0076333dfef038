"""Rows made without a teacher: that they are right is checked against the grammar of the embedded task."""

import json
import re
from collections import Counter
from itertools import pairwise

import dspy
import pytest
from scripted import scripted_lm

from optimizers import BootstrapDistill
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.grid import Grid
from optimizers.experiments.metrics import labelling_of
from optimizers.experiments.roles import Roles
from optimizers.experiments.setup import Setup
from optimizers.finetune.augment import AugmentSpec, augment
from optimizers.finetune.entity_slots import Labelled, Slots, names_of
from optimizers.jobs.jsonlines import read_lines
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from programs import TwoStage
from programs.lms.catalog import lm
from programs.tasks import load_task
from programs.tasks.multihop import SCHEMAS

SCHEMA = ["people", "books"]


def rows_of(schema, count=150, hops="2,3"):
    examples = load_task("multihop", schema=schema, hops=hops).load("train", count)
    return [Labelled(e.id, 0, e.question, tuple(e.subquestions), tuple(e.sub_answers)) for e in examples]


def made(rows, limit=4, **settings):
    return [row for row, _ in augment(rows, AugmentSpec(**settings), limit)]


def derived(schema, subquestions):
    """The question that the task's own grammar has for these steps, with the kinds of subject and object of each."""
    phrase, kinds, question = None, [], ""
    for number, text in enumerate(subquestions):
        (relation, subject) = next(
            (relation, found.group(1))
            for relation in SCHEMAS[schema]
            if (found := re.fullmatch(re.escape(relation.question).replace(r"\{\}", "(.+)"), text))
        )
        assert subject == f"#{number}" if number else not subject.startswith("#")
        phrase = phrase or subject
        question, phrase = relation.question.format(phrase), relation.phrase.format(phrase)
        kinds.append((relation.subject, relation.object))
    assert all(before[1] == after[0] for before, after in pairwise(kinds)), subquestions
    return question


@pytest.mark.parametrize("schema", SCHEMA)
@pytest.mark.parametrize("names", ["training", "synthetic"])
def test_masked_rows_are_the_same_chains_about_others(schema, names):
    rows = rows_of(schema)
    copies = made(rows, mask_entities=2, names=names)
    # A slot that was seen a few times only has no two other names.
    assert (1.9 if names == "training" else 2) * len(rows) <= len(copies) <= 2 * len(rows)
    own = {row.id: row for row in rows}
    known = {name for row in rows for name in names_of(row)} | {answer for row in rows for answer in row.answers}
    for copy in copies:
        source = own[copy.sources[0]]
        assert derived(schema, copy.subquestions) == copy.question != source.question
        assert not set(names_of(copy)) & set(names_of(source))
        assert set(names_of(copy)) <= known if names == "training" else not set(names_of(copy)) & known


@pytest.mark.parametrize("schema", SCHEMA)
def test_composed_rows_are_right_chains_of_the_tasks_own_grammar(schema):
    rows = rows_of(schema)
    longer = made(rows, compose=1.5, compose_hops=2)
    assert len(longer) == 225
    for row in longer:
        assert derived(schema, row.subquestions) == row.question
    assert Counter(len(row.subquestions) for row in longer).keys() == {3, 4}
    assert len({row.question for row in [*rows, *longer]}) == len({row.question for row in rows}) + len(longer)
    # Three steps were labelled at most, and four are allowed.
    assert max(len(row.subquestions) for row in made(rows, compose=1.0, compose_hops=3, limit=None)) > 4


def test_chains_are_typed_by_what_was_seen_even_without_the_teachers_answers():
    rows = [Labelled(row.id, row.sample, row.question, row.subquestions) for row in rows_of("people", 300)]
    assert all(derived("people", row.subquestions) == row.question for row in made(rows, compose=1.0))


def test_the_same_rows_and_seed_make_the_same_and_another_seed_others():
    rows = rows_of("people", 60)
    one, again, other = (made(rows, mask_entities=1, compose=0.5, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    assert len({(row.id, row.sample) for row in one}) == len(one)


WILD = [
    Labelled(
        "a",
        0,
        "When did the director of Blue Velvet die?",
        ("Who is the director of Blue Velvet?", "When did #1 die?"),
        ("David Lynch", "2025"),
    ),
    Labelled(
        "b", 0, "When did the director of Jaws die?", ("Who was the director of Jaws?", "When did #1 die?"), ("Steven Spielberg", "alive")
    ),
    Labelled(
        "c", 0, "Was Obama born before Merkel?", ("When was Obama born?", "When was Merkel born?", "Is #1 before #2?"), ("1961", "1954")
    ),
    Labelled("d", 0, "How many 5-pound bags are 30 pounds?", ("How much is in a bag?", "How often is #1 in 30 pounds?"), ("5", "6")),
    Labelled("e", 0, "Who was Marie Curie's first teacher?", ("Who taught Marie Curie first?",), ()),
    Labelled("f", 0, "What is the capital of Peru?", (), ()),
    Labelled("g", 0, "What is the capital of Chile?", (), ()),
]


def test_names_are_found_in_any_text():
    found = {row.id: names_of(row) for row in WILD}
    assert found == {
        "a": ["Blue Velvet"],
        "b": ["Jaws"],
        "c": ["Obama", "Merkel"],
        "d": [],
        "e": ["Marie Curie"],
        "f": ["Peru"],
        "g": ["Chile"],
    }


def test_what_has_no_name_or_no_other_of_its_kind_is_left_out():
    copies = {row.sources[0]: row for row in made(WILD, mask_entities=1)}
    # Two people in the same slot: each has the other alone, which the question names already.
    assert not {"c", "d", "e"} & set(copies)
    synthetic = {row.sources[0]: row for row in made(WILD, mask_entities=1, names="synthetic")}
    assert set(synthetic) == set("abcefg")
    first, second = names_of(synthetic["c"])
    assert synthetic["c"].subquestions == (f"When was {first} born?", f"When was {second} born?", "Is #1 before #2?")
    assert synthetic["e"].question == f"Who was {names_of(synthetic['e'])[0]}'s first teacher?"


def test_a_passage_is_masked_with_its_question_and_half_a_name_left_over_is_refused():
    row = Labelled("a", 0, "Who taught Ann Lee?", ("Who is Ann Lee?", "Who taught #1?"), (), "Ann Lee was taught by Bo.")
    (copy,) = made([row], mask_entities=1, names="synthetic")
    name = names_of(copy)[0]
    assert copy.context == f"{name} was taught by Bo."
    half = Labelled("a", 0, row.question, row.subquestions, (), "Lee was taught by Bo.")
    assert made([half], mask_entities=1, names="synthetic") == []
    assert made([row], compose=5.0) == []


def test_composition_takes_steps_that_fit_and_nothing_else():
    films = [
        *WILD[:2],
        Labelled(
            "h",
            0,
            "Who is the wife of the author of Dune?",
            ("Who is the author of Dune?", "Who is the wife of #1?"),
            ("Frank Herbert", "Beverly"),
        ),
        Labelled("i", 0, "When did Frank Herbert's wife die?", ("Who is the wife of Frank Herbert?", "When did #1 die?"), ("Anne", "1984")),
        Labelled(
            "j", 0, "When did the wife of Bram Stoker die?", ("Who is the wife of Bram Stoker?", "When did #1 die?"), ("Florence", "1937")
        ),
    ]
    longer = {row.question: row.subquestions for row in made(films, compose=20.0)}
    # An author may be in the place of a husband, but no director of a film in that of an author's book.
    assert longer == {
        "When did the wife of the author of Dune die?": ("Who is the author of Dune?", "Who is the wife of #1?", "When did #2 die?")
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment.mask_entities": -1}, "augment.mask_entities=-1"),
        ({"augment.compose": -0.1}, "augment.compose=-0.1"),
        ({"augment.compose_hops": 0}, "augment.compose_hops=0"),
        ({"augment.names": "none"}, "augment.names='none'"),
        ({"augment.paraphrase": 2}, "Unknown setting 'augment.paraphrase'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        load_config("forgiving", settings)


def test_composition_is_refused_where_the_decomposer_sees_a_passage(tmp_path):
    (tmp_path / "q.jsonl").write_text("".join(json.dumps({"question": f"Who is {i}?", "answer": "x"}) + "\n" for i in range(40)))
    settings = {"out": str(tmp_path / "grid"), "task": "jsonl", "task.path": str(tmp_path / "q.jsonl"), "data.train": 4, "data.test": 4}
    with pytest.raises(ValueError, match=r"augment.compose=1 .*decomposer of task 'jsonl' sees the passage"):
        Grid(load_config(None, {**settings, "augment.compose": 1}))
    assert not (tmp_path / "grid").exists()
    Grid(load_config(None, {**settings, "augment.compose": 1, "task.decomposer_sees_context": "false"}))


def teacher_rule(prompt):
    """Decomposes questions of the embedded task by its references."""
    known = {e.question: e for e in load_task("multihop").load("train", 12)}
    example = next(e for question, e in known.items() if question in prompt)
    if "Max subquestions" in prompt:
        return "\n".join(example.subquestions)
    return "\n".join([*example.sub_answers, f"Answer: {example.answer}"])


class ScriptedRoles(Roles):
    def _load(self, role):
        return scripted_lm(teacher_rule, f"openai/{role}")


def test_students_get_the_rows_and_the_folder_says_where_they_are_from(tmp_path):
    task = load_task("multihop")
    config = RunConfig.model_validate(
        {"teacher": "embedded/teacher", "augment": {"mask_entities": 1, "compose": 0.5}, "screening": {"max_rows": 10}}
    )
    students = ["S_D-R", "S_E-T", "S_D-T(matched)"]
    setup = Setup(config, task, {"train": task.load("train", 12)}, ScriptedRoles(config, tmp_path / "s"))
    made = Distillation(setup, labels=tmp_path, students=students)
    made.label()
    rows = {student: next(iter(distilled.rows.values())) for student, distilled in made.screen().items()}
    origins = {student: Counter(row.get("origin", "teacher") for row in found) for student, found in rows.items()}
    assert origins["S_D-R"]["teacher"] == 10 and origins["S_D-R"]["mask_entities"] >= 8 and origins["S_D-R"]["compose"] == 5
    assert origins["S_E-T"] == {"teacher": 10} and origins["S_D-T(matched)"] == {"teacher": 10}
    extra = next(row for row in rows["S_D-R"] if row.get("origin") == "compose")
    assert extra["messages"][-2]["content"].count(extra["question"]) == 1
    plain = rows["S_D-R"][0]["messages"][-2]["content"]
    assert "Max subquestions: 4" in plain and "Max subquestions: 4" in extra["messages"][-2]["content"]
    lines = [line for line in read_lines(tmp_path / "rows.jsonl") if line.get("origin")]
    assert Counter(line["origin"] for line in lines) == {key: origins["S_D-R"][key] for key in ("mask_entities", "compose")}
    assert all(line["sources"] and line["student"] == "S_D-R" and line["kept"] for line in lines)
    found = labelling_of(tmp_path)
    assert found["kept"] == 12 and found["by_policy"]["oracle"]["augmented"] == {
        k: origins["S_D-R"][k] for k in ("mask_entities", "compose")
    }


def test_a_solver_alone_cannot_be_augmented(tiny_model, tmp_path):
    program = TwoStage()
    program.set_lm(lm(tiny_model))
    optimizer = BootstrapDistill(targets=["solve"], augment=AugmentSpec(mask_entities=1), folder=tmp_path)
    with pytest.raises(ValueError, match=r"none of \['solve'\] is one"):
        optimizer.prepare(program, trainset=[dspy.Example(id="1", question="q", context="").with_inputs("question", "context")])


def test_no_rows_make_none():
    assert Slots.of([]).hops == [] and made([], mask_entities=3, compose=1.0) == []
