"""Students whose decomposer sees the solver's first attempt: labelled, screened and rendered like all others."""

from scripted import scripted_lm

from optimizers import BootstrapDistill
from optimizers.conditions import parse_condition, students_of
from optimizers.experiments.distillation import Distillation
from optimizers.experiments.plan import improve_steps, plan_steps
from optimizers.experiments.roles import Roles
from optimizers.experiments.setup import Setup
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.settings.load import load_config
from programs import FeedbackTwoStage, TerseLineAdapter
from programs.signatures import DecomposeWithAttempt
from programs.tasks.registry import load_task

CONDITIONS = "teacher(feedback)+teacher,student0(feedback)+teacher,S_D-R(feedback)+teacher"


def rule(prompt):
    if "Max subquestions" in prompt:
        return "Who is it?\nWhere is #1?" if "Attempt:" in prompt else "Which?"
    return "Ann\nRome\nAnswer: Rome" if "Subquestions:" in prompt else "Reasoning: Ann is in Oslo.\nAnswer: Oslo"


class ScriptedRoles(Roles):
    """Every role is the same script."""

    def _load(self, role):
        return scripted_lm(rule, "embedded/base" if role == "student0" else "openai/scripted")


def distillation(folder):
    config = load_config("forgiving", {"evaluation.conditions": CONDITIONS, "labelling.threads": "2", "labelling.failure_share": "1"})
    conditions = [parse_condition(name) for name in config.conditions()]
    roles, task = ScriptedRoles(config, folder / "student"), load_task("multihop")
    splits = {"train": task.load("train", 3)}
    made = Distillation(Setup(config, task, splits, roles), labels=folder, students=students_of(conditions))
    return made, roles, task, splits


def test_labels_and_rows_of_a_feedback_student(tmp_path):
    made, roles, task, splits = distillation(tmp_path)
    assert made.students == ["S_D-R(feedback)"]
    made.label()
    assert read_json(tmp_path / "labelling.json")["calls"] == 3 * (2 + 3)
    made.screen()
    rows = list(read_lines(tmp_path / "rows.jsonl"))
    assert {(row["student"], row["policy"], row["reason"]) for row in rows} == {("S_D-R(feedback)", "oracle", "wrong_answer")}
    assert roles.folder_of("S_D-R(feedback)").name == "S_D-R-feedback"
    asked = roles.program(parse_condition("student0(feedback)+teacher"), task, splits["train"])
    found = asked(question=splits["train"][0].question, context="")
    assert (found.subquestions, found.answer, found.attempt) == (["Who is it?", "Where is #1?"], "Rome", "Oslo")


def test_rows_are_the_prompt_of_inference_with_the_attempt_in_it(tmp_path):
    teacher = FeedbackTwoStage(decomposer_sees_context=False)
    teacher.set_lm(scripted_lm(rule))
    examples = load_task("multihop").load("train", 1)
    row = BootstrapDistill(folder=tmp_path).prepare(teacher, trainset=examples).rows["decompose"][0]
    inputs = {**teacher.decompose_inputs(examples[0].question), "attempt": "Ann is in Oslo.", "answer": "Oslo"}
    assert row["messages"][:-1] == TerseLineAdapter().format(DecomposeWithAttempt, [], inputs)
    assert row["messages"][-1] == {"role": "assistant", "content": "Who is it?\nWhere is #1?"}


def test_plans_count_the_attempts():
    steps = {step.name: step.calls for step in plan_steps(load_config("forgiving", {"evaluation.conditions": CONDITIONS}))}
    assert steps["test: teacher(feedback)+teacher, solve"] == 200 and "train S_D-R(feedback)" in steps
    given = {"improve.form": "feedback", "improve.reward": "gain", "improve.rounds": "2", "improve.samples": "3"}
    steps = {step.name: step.calls for step in improve_steps(load_config("forgiving", given))}
    assert steps["tries: decompose"] == steps["tries: solve"] == 200 * 3 * 2 and steps["tries: solver alone"] == 200
    assert {"train S_D-R(feedback)", "train round 1", "train round 2"} <= steps.keys()
