"""A value that cannot be is refused when the configuration is loaded or the job is set up, and nobody is asked anything."""

import json
import tarfile
from pathlib import Path
from typing import get_args

import dspy
import pytest
from loopback import chat, serving
from pydantic import BaseModel

from optimizers.distill import BootstrapDistill
from optimizers.experiments.experiment import run_experiment
from optimizers.experiments.run import run
from optimizers.improvement.improve import improve
from optimizers.prompts.compile import compile_prompts
from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import loaded
from optimizers.studies.study import study
from programs.tasks.base import Task

JOBS = {"run": run, "experiment": run_experiment, "improve": improve, "study": study, "compile": compile_prompts}
WORDS = ("str", "bool", "dict", "list[str]", "TaskConfig", "ModelConfig")
ZERO = {
    *("seed", "data.dev", "compile.dev", "training.seed", "study.seed", "augment.seed", "screening.row_seed"),
    *(f"{model}.temperature" for model in ("teacher", "student", "solver", "screening.judge", "compile.prompt_model", "labelling")),
    *("augment.mask_entities", "augment.compose", "training.min_steps", "training.warmup_steps", "training.weight_decay"),
    *(
        "training.lora_dropout",
        "training.neftune_noise",
        "training.kl_weight",
        "training.threads",
        "training.microbatch_tokens",
        "cost.local_usd_per_hour",
        "evaluation.cascade_threshold",
        "evaluation.cascade_tolerance",
    ),
    *("experiment.training_seeds", "experiment.data_seeds", "experiment.sampling_seeds", "improve.grpo.beta"),
}
"""Settings that may be 0: a seed, nothing of something, or a greedy temperature. A new one is to be thought about."""


def leaves(section, prefix=""):
    """Every setting with its annotation; those of models and tasks under names of one's own are below."""
    for key, field in section.model_fields.items():
        kinds = [one for one in (field.annotation, *get_args(field.annotation)) if isinstance(one, type) and issubclass(one, BaseModel)]
        if prefix + key in ("experiment.tasks", "experiment.solvers", "experiment.students"):
            continue
        if kinds:
            yield from leaves(kinds[0], f"{prefix}{key}.")
        else:
            yield prefix + key, str(field.annotation).replace("<class '", "").replace("'>", "").removesuffix(" | None")


NUMBERS = [name for name, kind in leaves(RunConfig) if ("int" in kind or "float" in kind) and "dict" not in kind]
CHOICES = [name for name, kind in leaves(RunConfig) if "Literal" in kind and "dict" not in kind]


def given(name, value):
    """The setting, and the model that it needs beside it."""
    role = next((role for role in ("solver", "screening.judge", "compile.prompt_model") if name.startswith(f"{role}.")), None)
    return {name: value, **({f"{role}.model": "embedded/teacher"} if role else {})}


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_is_negative_infinite_none_or_a_word(name):
    for value in (
        "-2",
        "nan",
        "inf",
        "-inf",
        "nosuch",
        "1e300",
        *([] if name in ZERO else ["0"]),
        *([] if name.endswith("_seeds") else [""]),
    ):
        with pytest.raises(ValueError, match=name.rpartition(".")[2]):
            load_config(None, given(name, value))


def test_settings_that_may_be_zero_may():
    assert {*NUMBERS} >= ZERO
    for name in ZERO:
        load_config(None, given(name, "0"))


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_is_none_names_those_there_are(name):
    with pytest.raises(ValueError, match=f"{name}='nosuch': Input should be '"):
        load_config(None, given(name, "nosuch"))


def test_all_kinds_of_settings_are_looked_at():
    assert len(NUMBERS) > 80 and {"training.device", "study.sampler", "improve.method", "screening.keep", "teacher.adapter"} <= {*CHOICES}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("experiment.solvers.x.temperature", "-1", "greater than or equal to 0"),
        ("experiment.students.x.max_tokens", "0", "greater than or equal to 1"),
        ("experiment.data.multihop.test", "0", "greater than or equal to 1"),
        ("experiment.training.learning_rate", "-1", "greater than 0"),
        ("experiment.limits", "-1", "'none' or a number from 1"),
        ("experiment.ablations", "nosuch", "unknown ablation"),
        ("experiment.rows", "0", "greater than or equal to 1"),
        ("experiment.training_seeds", "1,-1", "greater than or equal to 0"),
        ("cost.prices.openai/m", "-1,1", "greater than or equal to 0"),
        ("cost.prices.openai/m", "nan,1", "finite"),
        ("cost.prices.openai/m", "1", "at least 2"),
        ("screening.policy", "nosuch", "Unknown screening policy"),
        ("screening.measure", "nosuch", "expected some of"),
        ("improve.min_reward", "1.5", "less than or equal to 1"),
        ("training.max_steps", "0", "max_steps=0 would train nothing"),
        ("training.lora_targets", "q_proj,", "has an empty name"),
        ("training.dtype", "float16", "float32"),
        ("training.save_weights", "both", "merged"),
        ("teacher.options.api_key", "x", "api_key"),
    ],
)
def test_values_in_lists_and_tables_are_looked_at_too(name, value, message):
    further = {"experiment.solvers.x.model": "embedded/teacher", "experiment.students.x.model": "embedded/base"}
    with pytest.raises(ValueError, match=message):
        load_config(None, {**further, name: value})


@pytest.mark.parametrize("traces", [{}, {"labelling.traces": ""}])
def test_columns_of_no_traces_are_refused(traces):
    with pytest.raises(ValueError, match=r"labelling: trace_columns='question=frage' would have no effect.*--labelling\.traces PATH"):
        load_config(None, {"labelling.trace_columns": "question=frage", **traces})
    with pytest.raises(ValueError, match="would have no effect without traces="):
        BootstrapDistill(trace_columns={"question": "frage"})
    assert load_config(None, {"labelling.trace_columns": "", **traces}).labelling.trace_columns == ""


@pytest.fixture
def place(tmp_path, home, monkeypatch):
    """A folder with questions and a student of a few thousand weights, and a key for the server on loopback."""
    with tarfile.open(Path(__file__).parents[2] / "recorded" / "folders.tar.xz") as archive:
        archive.extractall(tmp_path, [one for one in archive.getmembers() if one.name.split("/")[0] == "tiny"], filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rows = [{"question": f"Where does number {n} live?", "answer": "Rome"} for n in range(60)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_task_that_gives_a_question_twice_is_refused_where_scores_are_told():
    class Twice(Task):
        name = "twice"

        def load(self, split, limit=None):
            return [dspy.Example(id=str(n), question=f"Where does number {n // 2} live?", answer="Rome") for n in range(limit)]

    assert len(loaded(Twice(), "train", 4)) == 4
    with pytest.raises(ValueError, match=r"gave 2 of 4 test questions more than once, .* intervals would be too narrow"):
        loaded(Twice(), "test", 4)


JUDGED = {"screening.policy": "judge", "screening.judge": "openai/judge"}


@pytest.mark.parametrize(
    ("job", "settings", "message"),
    [
        ("run", {"evaluation.conditions": "nosuch"}, "Unknown condition 'nosuch'"),
        ("run", {"training.lora_targets": "nosuch"}, "nosuch"),
        ("run", {"training.accelerate_config": "nosuch.yaml"}, "there is no file 'nosuch.yaml'"),
        ("run", {"screening.judge": "nosuch/x"}, "Unknown model 'nosuch/x'"),
        ("run", {"labelling.samples": 2}, "would be the same text 2 times; add --labelling.temperature 0.7"),
        ("run", {"labelling.samples": 2, "labelling.temperature": 0}, "would be the same text 2 times"),
        ("run", {"data.train": 300}, "300 were asked for"),
        ("run", {"task.scorer": "nosuch"}, "nosuch"),
        ("run", {"max_usd": 1}, "max_usd=1 needs a price for teacher openai/scripted"),
        ("run", {"labelling.max_usd": 1}, "labelling.max_usd=1 needs a price for teacher openai/scripted"),
        ("run", {**JUDGED, "labelling.max_usd": 1, "cost.prices.openai/scripted": "1,1"}, "needs a price for screening.judge openai/judge"),
        ("experiment", {"experiment.conditions": "nosuch"}, "Unknown condition 'nosuch'"),
        ("experiment", {"experiment.variant_conditions": "nosuch"}, "Unknown condition 'nosuch'"),
        ("experiment", {"experiment.train": "nosuch"}, "Unknown task 'nosuch'"),
        ("experiment", {"experiment.test": "nosuch"}, "Unknown task 'nosuch'"),
        ("experiment", {"experiment.solvers.x": "nosuch/x"}, "Unknown model 'nosuch/x'"),
        ("experiment", {"experiment.students.x": "embedded/nosuch"}, "Unknown model 'embedded/nosuch'"),
        ("experiment", {"experiment.training.lora_targets": "nosuch"}, "nosuch"),
        ("experiment", {"max_usd": 1}, "needs a price"),
        ("improve", {"improve.task": "nosuch"}, "Unknown task 'nosuch'"),
        ("improve", {"improve.max_usd": 1}, "needs a price"),
        ("improve", {"improve.data.train": 300}, "300 were asked for"),
        ("improve", {"training.lora_targets": "nosuch"}, "nosuch"),
        ("study", {"study.student": "nosuch"}, "study.student='nosuch' cannot be studied"),
        ("study", {"study.storage": "nosuch"}, "nosuch"),
        ("study", {"study.max_usd": 1}, "needs a price"),
        ("study", {"max_usd": 1}, "needs a price"),
        ("study", {"training.lora_targets": "nosuch"}, "nosuch"),
        ("study", {"training.accelerate_config": "nosuch.yaml"}, "there is no file 'nosuch.yaml'"),
        ("compile", {"compile.optimizer": "nosuch"}, "Unknown compile.optimizer 'nosuch'"),
        ("compile", {"compile.stages": "nosuch"}, "nosuch"),
        ("compile", {"compile.prompt_model": "nosuch/x"}, "Unknown model 'nosuch/x'"),
        ("compile", {"compile.max_usd": 1}, "needs a price"),
        ("compile", {"max_usd": 1}, "needs a price"),
        ("compile", {"compile.settings.max_rounds": 0}, "compile.settings.max_rounds=0 cannot be: .* takes a number from 1"),
        ("compile", {"compile.settings.max_labeled_demos": -1}, "takes a number from 0"),
        ("compile", {"compile.settings.metric_threshold": "nan"}, "takes a number from 0"),
        ("compile", {"compile.settings.metric_threshold": "inf"}, "takes a number from 0"),
        ("compile", {"compile.settings.num_candidate_programs": "nosuch"}, "takes a number from 1"),
        ("compile", {"compile.optimizer": "MIPROv2", "compile.settings.auto": "nosuch"}, "'light', 'medium', 'heavy'"),
        ("compile", {"compile.optimizer": "MIPROv2", "compile.settings.minibatch": 3}, "takes true or false"),
        ("compile", {"compile.optimizer": "COPRO", "compile.settings.breadth": 1}, "takes a number from 2"),
        ("compile", {"compile.optimizer": "GEPA", "compile.settings.max_metric_calls": -3}, "takes a number from 1"),
        ("compile", {"compile.optimizer": "KNNFewShot", "compile.settings.k": 0}, "takes a number from 1"),
    ],
)
def test_a_job_that_cannot_work_asks_nobody(place, job, settings, message):
    asked = {
        "task": "jsonl",
        "task.path": "questions.jsonl",
        "data.train": 12,
        "data.test": 4,
        "screening.min_rows": 2,
        "teacher": "openai/scripted",
        "student": "local/tiny",
    }
    asked |= {"improve.data.dev": 4, "compile.train": 4, "compile.validation": 4, "compile.dev": 4, "out": "out", "teacher.adapter": "line"}
    if job == "study":
        asked |= {"data.dev": 4, "study.space": {"training.learning_rate": {"low": 1e-4, "high": 1e-2}}}
    with serving(lambda body: chat("Rome")) as (address, bodies), pytest.raises(ValueError, match=message):
        JOBS[job](load_config(None, {**asked, "teacher.api_base": address, **settings}))
    assert not bodies
