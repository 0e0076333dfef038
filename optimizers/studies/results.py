"""What came of a study: `study.json`, `best.toml`, and `StudyResult`, which reads them."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.statistics import paired_comparison
from optimizers.experiments.roles import slug
from optimizers.experiments.run_folder import open_folder
from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json, write_json, write_whole
from optimizers.reports.blocks import Section
from optimizers.reports.frames import (
    ANY,
    COMPARISON,
    COUNT,
    FLAG,
    PREDICTION,
    SHARE,
    TRAINING,
    WORDS,
    comparison_record,
    frame,
    prediction_records,
)
from optimizers.reports.notebook import FigureFile, ShownResult
from optimizers.reports.study import sections, title, write_report
from optimizers.settings.run import RunConfig
from optimizers.studies.search_space import Space
from optimizers.studies.storage import KIND, REASON, RECIPE, RETRY_OF, is_over, open_storage
from optimizers.studies.trial import RESULT, reopen
from optimizers.studies.worker import FOLDER, KEPT, SAMPLER_SEED, TRAINING_SEED, best_trials, firsts

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from pandas import DataFrame

_TRIAL = {"number": COUNT, "state": WORDS, "recipe": FLAG}

_OUTCOME = {
    **dict.fromkeys(("score", "low", "high", "cost", "seconds", "training_seconds", "inference_seconds", "usd"), SHARE),
    "rows": COUNT,
    "model": WORDS,
    "folder": WORDS,
    "reason": WORDS,
    "retry_of": COUNT,
}

_TRACES = ("traces.jsonl", "samples.jsonl")


class StudyResult(ShownResult):
    """Reads a study's folder; in a notebook it shows its trials. Its frames have the dtypes of those of `Run`.

    Args:
        folder: A folder that `optimizers.study` or the command line filled.

    Raises:
        ValueError: No study there.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.found = read_json(self.folder / "study.json")
        if not self.found:
            raise ValueError(f"{self.folder} holds no study: it has no study.json. Give the --out folder of `divide-or-conquer study`.")

    @property
    def trials(self) -> list[dict[str, Any]]:
        """A dict a trial: number, state, params, score, ci95, cost, seconds, reason, retry_of, folder, model, seeds."""
        trials: list[dict[str, Any]] = self.found["trials"]
        return trials

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial, by score; None before one is complete."""
        return next((trial for trial in self.trials if trial["number"] in self.found["best"][:1]), None)

    @property
    def complete(self) -> bool:
        """Whether all trials were made."""
        return self.found["incomplete"] is None

    @property
    def best_config(self) -> Path:
        """The TOML file of the best trial, for `run`."""
        return self.folder / "best.toml"

    def study(self) -> Study:
        """Optuna's own study, for its plots and dashboards."""
        import optuna

        config = RunConfig(out=str(self.folder), study={"storage": self.found["storage"]})
        return optuna.load_study(study_name=self.found["name"], storage=open_storage(config))

    def trials_frame(self) -> DataFrame:
        """A row a trial.

        Returns:
            number (`Int64`), state (`string`), recipe, whether it is the recipe as it stands (`boolean`); a column a dimension under its
            own name (`object`); score on the dev questions, from 0 to 1, low and high, its 95 % interval, cost, as `found["cost_in"]` says,
            seconds in all, training_seconds, inference_seconds, usd, dollars (`float64`); rows that it was trained on (`Int64`); model,
            folder, reason of its end (`string`), and retry_of, a trial's number (`Int64`).
        """
        dimensions = list(dict.fromkeys(key for trial in self.trials for key in trial["params"]))
        records = [comparison_record({**trial, **trial["params"]}) for trial in self.trials]
        return frame(records, {**_TRIAL, **dict.fromkeys(dimensions, ANY), **_OUTCOME})

    def comparisons(self) -> DataFrame:
        """The best trial against the recipe, in a row with the columns of `Run.comparisons`; none without a score of either."""
        against, best = self.found.get("against_recipe"), self.best
        names = {"a": f"trial {best['number']}", "b": f"trial {against['recipe']}"} if against and best else {}
        return frame([{**comparison_record(against), **names}] if against else [], COMPARISON)

    def predictions(self, trial: int | None = None) -> DataFrame:
        """A row a dev question, with the columns of `Run.predictions` behind trial (`Int64`).

        Args:
            trial: Its number; all that have answers by default.

        Raises:
            ValueError: There is no such trial.
        """
        places = [(one["number"], self.folder / one["folder"] / "predictions.jsonl") for one in self._of(trial)]
        records = (record for number, path in places for record in prediction_records(path, trial=number))
        return frame(records, {"trial": COUNT, **PREDICTION})

    def training(self, trial: int | None = None) -> DataFrame:
        """A row a training step that was noted, with the columns of `Run.training` behind trial (`Int64`), without student.

        Args:
            trial: Its number; all by default.

        Raises:
            ValueError: There is no such trial.
        """
        folders = [(one["number"], self.folder / one["folder"]) for one in self._of(trial)]
        # The weights of all but the best are deleted, and what was noted is moved up.
        places = [(number, path) for number, folder in folders for path in (folder, *folder.glob("student/*"))]
        records = ({**line, "trial": number} for number, path in places for line in read_progress(path))
        return frame(records, {"trial": COUNT, **TRAINING})

    def _of(self, trial: int | None) -> list[dict[str, Any]]:
        numbers = [one["number"] for one in self.trials]
        if trial is not None and trial not in numbers:
            raise ValueError(f"{self.folder} has no trial {trial!r}; it has {numbers}.")
        return [one for one in self.trials if trial in (None, one["number"]) and one["folder"]]

    def figures(self) -> dict[str, FigureFile]:
        """Figure name -> its PNG, which a notebook shows at the size of a screen; none without a score."""
        path = self.folder / "study.png"
        return {"study": FigureFile(path)} if path.exists() else {}

    def shown(self) -> tuple[str, list[Section]]:
        """What its report says."""
        return f"{title(self.found)}, in {self.folder}", sections(self.found, self.folder)

    def __repr__(self) -> str:
        best = self.best
        shown = f"best {best['score']:.1%} (trial {best['number']})" if best else "no complete trial"
        return f"StudyResult({str(self.folder)!r}): {len(self.trials)} trials, {shown}"


def write_study(study: Study, config: RunConfig, space: Space, incomplete: str | None) -> StudyResult:
    """Sum a study up in its folder.

    Args:
        study: With its trials.
        config: The study's configuration.
        space: Its dimensions.
        incomplete: Why it stopped early; None if it did not.
    """
    folder = Path(config.out)
    trials = study.get_trials(deepcopy=False)
    best = sorted(best_trials(study), key=lambda trial: (-trial.values[0], trial.values[-1], trial.number))
    over = sum(is_over(trial, trials) for trial in trials)
    found = {
        "name": study.study_name,
        "storage": config.study.storage,
        "objective": config.study.objective,
        "cost_in": "seconds" if config.cost.local_usd_per_hour is None else "dollars",
        "planned": config.study.trials,
        "finished": over,
        "incomplete": incomplete if over < max(config.study.trials, len(firsts(trials))) else None,
        "space": {dimension.key: str(dimension) for dimension in space.dimensions},
        "best": [trial.number for trial in best],
        "against_recipe": against_recipe(folder, trials, best[0]) if best else None,
        "importance": _importance(study),
        "trials": [_record(trial) for trial in trials],
    }
    if best:
        _write_best(folder, best[0], space)
    write_json(folder / "study.json", found)
    write_report(folder)
    return StudyResult(folder)


def _record(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "params": trial.params,
        "seconds": seconds,
        **{name: attributes.get(name) for name in (*KEPT, REASON, KIND, RETRY_OF, FOLDER, TRAINING_SEED, SAMPLER_SEED)},
        "recipe": bool(attributes.get(RECIPE)),
    }


def against_recipe(folder: Path, trials: list[FrozenTrial], best: FrozenTrial) -> dict[str, Any] | None:
    """The best trial against the recipe as it stands, on the same dev questions; None without a score of the recipe's."""
    recipe = next((t for t in trials if t.user_attrs.get(RECIPE) and t.state.name == "COMPLETE"), None)
    if recipe is None:
        return None
    mine, other = (read_json(folder / t.user_attrs[FOLDER] / RESULT) for t in (best, recipe))
    return {"recipe": recipe.number, **paired_comparison(mine["scores"], other["scores"], passages=mine.get("passages")).to_dict()}


def _write_best(folder: Path, best: FrozenTrial, space: Space) -> None:
    """`best.toml`, and the run folder it names, with the labels and the student that the trial had: nothing is paid for twice."""
    name = best.user_attrs[FOLDER]
    config = space.apply(best.params)
    student = config.study.student
    artifact = reopen(folder / name, student)
    target = folder / f"best-{Path(name).name}"
    steps = artifact.manifest["training"]["save_steps"]
    conditions = ["teacher+teacher", "student0+solver", f"{student}+solver"]
    config = config.model_copy(
        update={
            "out": str(target),
            "training": config.training.model_copy(update={"save_steps": steps}),
            "evaluation": config.evaluation.model_copy(update={"conditions": conditions}),
        }
    )
    for other in folder.glob("best-*"):
        if other != target and not (other / "predictions").exists():
            shutil.rmtree(other)
    if not target.exists():
        open_folder(config)
        for trace in _TRACES:
            shutil.copy(folder / "labels" / trace, target / trace)
        shutil.copytree(artifact.folder, target / "student" / slug(student), copy_function=_link)
    write_whole(folder / "best.toml", config.to_toml())


def _link(source: str, target: str) -> None:
    """Artifacts never change, so that a second name does for a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _importance(study: Study) -> dict[str, float]:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target = (lambda trial: trial.values[0]) if len(study.directions) > 1 else None
            return optuna.importance.get_param_importances(study, target=target)
        except (ValueError, RuntimeError):
            return {}
