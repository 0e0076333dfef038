"""DSPy's own optimizers, unchanged, on a program whose decomposer is a local model of this package: a contract each."""

import json

import dspy
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers import TrainingSpec, TRLProvider
from programs import Frozen, Solve, TerseLineAdapter, TwoStage
from programs.lms import engine
from programs.lms.artifacts import open_artifact
from programs.lms.catalog import lm
from programs.lms.model_strings import resolve

QUICK = TrainingSpec(max_steps=2, batch_size=2, learning_rate=1e-3, save_steps=1, max_length=250, threads=1)


def examples(count):
    made = [dspy.Example(id=f"e{i}", question=f"Where is number {i}?", context="c", answer="Rome") for i in range(count)]
    return [example.with_inputs("question", "context") for example in made]


def right(example, prediction, trace=None):
    return float(prediction.answer == example.answer)


def two_stage(decomposer, solver):
    """The solver is nobody's to train."""
    program = TwoStage(solve=Frozen(dspy.Predict(Solve)), decomposer_sees_context=False)
    program.decompose.lm, program.solve.module.lm = decomposer, solver
    return program


@pytest.fixture
def student(tiny_model, tmp_path):
    """A tiny random decomposer that can be trained, before a scripted solver."""
    provider = TRLProvider(tmp_path, spec=QUICK, adapter="line-terse")
    return two_stage(lm(tiny_model, max_tokens=8, provider=provider), scripted_lm(two_stage_rule))


@pytest.fixture
def teacher():
    return two_stage(scripted_lm(two_stage_rule), scripted_lm(two_stage_rule))


@pytest.fixture
def loads(monkeypatch):
    """Model strings whose weights were loaded, in order."""
    found, usual = [], engine._load

    def counted(key):
        found.append(key.model)
        return usual(key)

    monkeypatch.setattr(engine, "_load", counted)
    return found


def finetune(**options):
    return dspy.BootstrapFinetune(adapter=TerseLineAdapter(), num_threads=2, **options)


def trained_rows(model):
    folder = resolve(model).folder
    return [json.loads(line)["messages"] for line in (folder / "rows.jsonl").open()]


@pytest.mark.parametrize("multitask", [True, False])
def test_bootstrap_finetune_trains_the_decomposer_alone(student, teacher, tiny_model, loads, multitask):
    solver = student.solve.module.lm
    compiled = finetune(multitask=multitask, metric=right).compile(student, trainset=examples(4), teacher=teacher)
    assert compiled.solve.module.lm is solver
    model = compiled.decompose.lm.model
    assert model.startswith("local/") and model != tiny_model
    assert open_artifact(resolve(model).folder).adapter == "line-terse"
    rows = trained_rows(model)
    assert len(rows) == 4 and all(row[-1]["content"] == "Who is it?\nWhere is #1?" for row in rows)
    assert compiled(question="Where is number 9?", context="c").answer == "Rome"
    compiled.deepcopy()(question="Where is number 8?", context="c")
    assert loads == [model]


def test_one_unreadable_reply_costs_bootstrap_finetune_no_other_row(student, teacher):
    """DSPy's own programs die of it (issue 10362 and its like); `TwoStage` answers without a decomposition."""
    teacher.decompose.lm = scripted_lm(lambda prompt: "" if "number 2" in prompt else two_stage_rule(prompt))
    compiled = finetune().compile(student, trainset=examples(4), teacher=teacher)
    rows = trained_rows(compiled.decompose.lm.model)
    assert len(rows) == 3 and all(row[-1]["content"] == "Who is it?\nWhere is #1?" for row in rows)


def test_failures_of_bootstrap_finetune_surface(student, teacher, tiny_model):
    with pytest.raises(ValueError, match="No rows to train on"):
        finetune(metric=lambda *_: 0.0).compile(student, trainset=examples(4), teacher=teacher)
    with pytest.raises(ValueError, match="rank"):
        finetune(train_kwargs={"rank": 3}).compile(student, trainset=examples(4), teacher=teacher)
    assert student.decompose.lm.model == tiny_model


def searching():
    return dspy.BootstrapFewShotWithRandomSearch(
        metric=right, max_bootstrapped_demos=1, max_labeled_demos=0, num_candidate_programs=1, num_threads=2
    )


def test_better_together_runs_prompts_weights_prompts(student, teacher, tiny_model, loads):
    solver = student.solve.module.lm
    together = dspy.BetterTogether(metric=right, p=searching(), w=finetune(metric=right))
    # A teacher of BetterTogether itself is handed on as a list, which no prompt optimizer takes; and prompt optimizers
    # drop the LMs of the predictors, so that the settings must have one.
    taught = {step: {"teacher": teacher} for step in ("p", "w")}
    options = {"valset": examples(2), "num_threads": 2, "seed": 0, "optimizer_compile_args": taught}
    with dspy.context(lm=student.decompose.lm):
        compiled = together.compile(student, trainset=examples(6), strategy="p -> w -> p", **options)
    assert compiled.flag_compilation_error_occurred is False
    strategies = {candidate["strategy"]: candidate["program"] for candidate in compiled.candidate_programs}
    assert sorted(strategies) == ["", "p", "p -> w", "p -> w -> p"]
    assert strategies["p"].decompose.lm.model == tiny_model
    trained = strategies["p -> w"].decompose.lm.model
    assert trained != tiny_model and strategies["p -> w -> p"].decompose.lm.model == trained
    assert all(program.solve.module.lm.model == solver.model for program in strategies.values())
    assert strategies["p -> w -> p"](question="Where is number 9?", context="c").answer == "Rome"
    # A kill frees weights, and the next call loads them again: once for the base, twice for what was trained from it.
    assert loads.count(tiny_model) <= 2 and loads.count(trained) <= 2


def test_better_together_flags_a_training_that_failed(student, teacher, tiny_model):
    together = dspy.BetterTogether(metric=right, w=finetune(metric=right, train_kwargs={"rank": 3}))
    compiled = together.compile(student, trainset=examples(4), teacher=teacher, valset=examples(2), num_threads=2, strategy="w")
    assert compiled.flag_compilation_error_occurred is True
    assert compiled.decompose.lm.model == tiny_model


def instructing(prompt):
    names = ("proposed_instruction", "observations", "summary", "program_description", "module_description")
    return next((f"[[ ## {name} ## ]]\nAsk well.\n\n[[ ## completed ## ]]" for name in names if f"`[[ ## {name} ## ]]`" in prompt), "?")


def test_mipro_writes_instructions_for_a_local_decomposer(student, tiny_model, loads):
    local, solver = student.decompose.lm, student.solve.module.lm
    optimizer = dspy.MIPROv2(
        metric=right, prompt_model=scripted_lm(instructing), task_model=solver, auto=None, num_candidates=2, num_threads=2, seed=1
    )
    compiled = optimizer.compile(
        student, trainset=examples(4), valset=examples(4), num_trials=3, minibatch=False, max_bootstrapped_demos=1, max_labeled_demos=0
    )
    assert compiled.decompose.lm.model == local.model == tiny_model
    assert compiled.solve.module.lm.model == solver.model
    instructions = {one["program"].decompose.signature.instructions for one in compiled.candidate_programs}
    assert "Ask well." in instructions
    assert compiled(question="Where is number 9?", context="c").answer == "Rome"
    assert loads == [tiny_model]


@pytest.mark.long
def test_the_embedded_base_learns_through_the_stock_optimizer(base, tmp_path, monkeypatch):
    provider = TRLProvider(tmp_path, spec=QUICK.model_copy(update={"threads": 2}), adapter="line-terse")
    student = two_stage(lm("embedded/base", max_tokens=24, provider=provider), scripted_lm(two_stage_rule))
    teacher = two_stage(scripted_lm(two_stage_rule), scripted_lm(two_stage_rule))
    compiled = finetune(train_kwargs={"max_steps": 20, "batch_size": 4}).compile(student, trainset=examples(16), teacher=teacher)
    assert compiled(question="Where is number 99?", context="c").subquestions == ["Who is it?", "Where is #1?"]
