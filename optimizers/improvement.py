"""`divide-or-conquer improve`: a student of a run goes on learning, from what its own decompositions lead the solver to."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

import dspy
import tomli_w

from optimizers.cast import Cast
from optimizers.config import DataConfig, RunConfig, TaskConfig
from optimizers.distillation import Distillation, Progress, load_splits, no_progress, task_options
from optimizers.finetune.provider import base_folder
from optimizers.improve_report import build, write_report
from optimizers.jsonlines import read_json, write_json
from optimizers.main_job import logging_to
from optimizers.run_folder import MAY_DIFFER, changed_settings, open_folder, refuse
from optimizers.success import Learned, LearnFromSuccess, check_hidden
from optimizers.traces import LimitReached
from optimizers.tries import with_decomposer
from programs.conditions import FEEDBACK
from programs.lms.engine import unload_all
from programs.lms.ledger import Ledger, Prices, recording
from programs.modules import TwoStage
from programs.tasks.base import Task, load_task, overlapping

_log = logging.getLogger("divide_or_conquer")
_MAY_DIFFER = {f"improve.{key}" for key in ("rounds", "patience", "max_calls", "max_tokens", "max_usd", "out")}


class Improvement:
    """Reads what `improve` wrote; in a notebook it shows its table.

    Args:
        folder: Where `improve.json` is.

    Raises:
        ValueError: There is none.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / "improve.json").exists():
            raise ValueError(f"{self.folder} has no improve.json. Give the --out folder of `divide-or-conquer improve`.")

    @property
    def metrics(self) -> dict[str, Any]:
        """`improve.json`."""
        return read_json(self.folder / "improve.json")

    @property
    def student(self) -> str:
        """Model string of the best student."""
        return str(self.metrics["rounds"][self.metrics["best"]]["model"])

    def table(self) -> list[dict[str, Any]]:
        """A dict a round: number, rows, dev score, tokens, seconds, dollars."""
        return list(self.metrics["rounds"])

    def _repr_markdown_(self) -> str:
        return (self.folder / "improve.md").read_text()


class ImproveJob:
    """One folder of rounds.

    Args:
        config: Of the run whose student is improved; its section `improve` says how.
        progress: See `Progress`.

    Raises:
        ValueError: Before any work: what cannot be trained or asked, questions in two splits, or a folder of other
            settings.
    """

    def __init__(self, config: RunConfig, progress: Progress | None = None) -> None:
        self.config, self.settings = config, config.improve
        self.progress = progress or no_progress
        self.name = self.settings.student + (FEEDBACK if self.settings.form == "feedback" else "")
        self.run_folder, self.folder = Path(config.out), Path(self.settings.out or config.out)
        self.cast = Cast(config, self.run_folder / "student")
        base_folder(config.student.in_process().model)
        self.task_config = _seeded(self.settings.task or config.task, config)
        self.task = load_task(self.task_config.name, **self.task_config.options())
        self._load()
        check_hidden(self.settings, self.splits["train"])
        self._check_settings(_settings(config))
        if self.settings.max_usd is not None:
            self.cast.check_prices("improve.max_usd")
        open_folder(config)
        self.prices = Prices(config.cost.local_usd_per_hour)

    def _load(self) -> None:
        """The questions: those of the run, those to improve on, and those to test on."""
        own = load_task(self.config.task.name, **task_options(self.config.task, self.config.seed))
        self.run_splits, self.run_task = load_splits(own, self.config.data), own
        sizes = self.settings.data
        wanted = DataConfig(train=sizes.train or self.config.data.train, dev=sizes.dev, test=sizes.test or self.config.data.test)
        self.splits = load_splits(self.task, wanted)
        self.tests: dict[str, tuple[Task, list[dspy.Example]]] = {"test": (self.task, self.splits["test"])}
        if self.settings.task is not None:
            self.tests["own"] = (own, self.run_splits["test"])
        trained = [*self.run_splits["train"], *self.splits["train"]]
        tested = [example for _, examples in self.tests.values() for example in examples]
        shared = overlapping({"train": trained, "dev": self.splits["dev"], "test": tested})
        if shared:
            first, second, question = shared[0]
            raise ValueError(
                f"{len(shared)} questions stand both in {first} and in {second}, the first: {question!r}. Take them out of one."
            )

    def _check_settings(self, now: dict[str, Any]) -> None:
        """Refuse a folder with rounds of other settings."""
        path = self.folder / "rounds" / "config.toml"
        before = _with_later_settings(tomllib.loads(path.read_text())) if path.exists() else now
        apart = MAY_DIFFER | _MAY_DIFFER | (set() if "round0" in now else {"round0"})
        refuse(self.folder, "rounds", changed_settings(before, now, apart), "--improve.out")

    def work(self) -> Improvement:
        """Distil what is missing, do the rounds, test the best student against the first, and report."""
        distillation = Distillation(
            self.config, self.cast, self.run_task, self.run_splits, labels=self.run_folder, students=[self.name],
            notes=self.folder / "rounds", progress=self.progress,
        )  # fmt: skip
        rows = distillation.ready(self.name).rows["decompose"]
        settings = {**_settings(self.config), "round0": self.cast.model(self.name).model}
        self._check_settings(settings)
        (self.folder / "rounds" / "config.toml").write_text(tomli_w.dumps(settings))
        optimizer = self._optimizer(rows)
        learned: Learned = optimizer.compile(self._student(), trainset=self.splits["train"], valset=self.splits["dev"]).learned
        tested = self._tested(optimizer, learned)
        write_json(self.folder / "improve.json", build(self, learned, tested))
        write_report(self.folder)
        unload_all()
        return Improvement(self.folder)

    def _student(self) -> TwoStage:
        make = self.cast.feedback if self.settings.form == "feedback" else self.cast.two_stage
        return make(self.task, self.name, "solver")

    def _optimizer(self, rows: list[dict[str, Any]]) -> LearnFromSuccess:
        training, seed = self.config.training, self.config.seed
        return LearnFromSuccess(
            self.task,
            self.settings,
            folder=self.folder / "rounds",
            training=training.model_copy(update={"seed": training.seed or seed}),
            base=self.config.student.in_process().model,
            rows=rows,
            task_config=self.task_config,
            solver=self.cast.roles["solver"],
            threads=self.config.evaluation.threads,
            seed=seed,
            progress=self.progress,
        )

    def _tested(self, optimizer: LearnFromSuccess, learned: Learned) -> dict[str, dict[int, list[dict[str, Any]]]]:
        """Test set -> round -> lines: of the first round, and of the best."""
        found: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for name, (task, examples) in self.tests.items():
            optimizer.task, found[name] = task, {}
            for one in {0: learned.rounds[0], learned.best.number: learned.best}.values():
                out = self.folder / "rounds" / str(one.number) / f"{name}.jsonl"
                program = with_decomposer(one.program, one.program.decompose.lm)
                program.max_subquestions, program.decomposer_sees_context = task.max_subquestions, task.decomposer_sees_context
                try:
                    found[name][one.number] = optimizer.ask(program, examples, out, f"round {one.number}: {name}")
                except LimitReached as limit:
                    learned.incomplete = learned.incomplete or str(limit)
        return found


def _settings(config: RunConfig) -> dict[str, Any]:
    return {**tomllib.loads(config.to_toml()), "improve": config.improve.model_dump(exclude_none=True)}


def _with_later_settings(stands: dict[str, Any]) -> dict[str, Any]:
    """A folder's settings with the defaults of those that there were none of when it was made."""
    try:
        return {**stands, **_settings(RunConfig.model_validate({key: value for key, value in stands.items() if key != "round0"}))}
    except ValueError:
        return stands


def _seeded(task: TaskConfig, config: RunConfig) -> TaskConfig:
    return TaskConfig(name=task.name, **task_options(task, config.seed))


def improve(config: RunConfig | dict[str, Any], progress: Progress | None = None) -> Improvement:
    """Improve a run's student in rounds; the same call again continues.

    Args:
        config: A `RunConfig`, or its fields as nested dicts: `out` is the folder of the run, `improve` says how.
        progress: Called with (stage, done, total, note).

    Returns:
        What stands in `improve.json`; where a limit ended the rounds, the best so far, marked `incomplete`.

    Raises:
        ValueError: A configuration that cannot work, said before any work.
        LabellingStoppedError: The run had no student yet, and a limit ended its labelling.
        TooFewRowsError: Likewise, with too few rows for one.
        TrainingError: A training failed.
    """
    job = ImproveJob(RunConfig.model_validate(config), progress)
    (job.folder / "rounds").mkdir(parents=True, exist_ok=True)
    with logging_to(job.folder / "log.txt"), recording(Ledger(job.prices)):
        _log.info("improve: start")
        done = job.work()
        _log.info("improve: done, %s", done.metrics["ended"])
    return done
