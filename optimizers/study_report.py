"""What came of a study: `study.json`, `study.md`, `study.png`, and `best.toml`, which `run` takes."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.cast import slug
from optimizers.config import RunConfig
from optimizers.figures import png, styled
from optimizers.jsonlines import read_json, write_json, write_whole
from optimizers.run_folder import open_folder
from optimizers.statistics import paired_comparison
from optimizers.study_space import Space
from optimizers.study_storage import KIND, REASON, RECIPE, RETRY_OF, is_over, open_storage
from optimizers.study_trial import RESULT, reopen
from optimizers.study_worker import FOLDER, KEPT, SAMPLER_SEED, TRAINING_SEED, best_trials, firsts

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

_TRACES = ("traces.jsonl", "samples.jsonl")


class StudyResult:
    """Reads a study's folder; in a notebook it shows its table.

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

    def _repr_markdown_(self) -> str:
        return (self.folder / "study.md").read_text()

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
        "trials": [_record(trial) for trial in trials],
    }
    if best:
        _write_best(folder, best[0], space)
    figure = study_figure(study)
    if figure is not None:
        (folder / "study.png").write_bytes(png(figure))
    (folder / "study.md").write_text(_markdown(found))
    write_json(folder / "study.json", found)
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
    best_scores, recipe_scores = (read_json(folder / t.user_attrs[FOLDER] / RESULT)["scores"] for t in (best, recipe))
    found = paired_comparison(best_scores, recipe_scores)
    return {"recipe": recipe.number, "n": found.n, "delta": found.delta, "ci95": [found.low, found.high], "p": found.p}


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


def _markdown(found: dict[str, Any]) -> str:
    lines = [f"# Study {found['name']}", ""]
    lines.append(f"{found['finished']} of {found['planned']} trials finished; objective {found['objective']}, dev questions only.")
    if found["incomplete"]:
        lines.append(f"\n**Incomplete**: {found['incomplete']}. What is below is the best so far; the same command continues.")
    lines += ["", *_best_lines(found), "", *_table(found), "", *_metric_lines(found)]
    return "\n".join(lines) + "\n"


def _best_lines(found: dict[str, Any]) -> list[str]:
    if not found["best"]:
        return ["No trial has a score."]
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"][0])
    settings = ", ".join(f"{key} = {_shown(value)}" for key, value in best["params"].items())
    lines = [
        f"Best: trial {best['number']}, {best['score']:.1%} ({settings}). `divide-or-conquer run @ best.toml` does the main job with it."
    ]
    if len(found["best"]) > 1:
        lines.append(f"Pareto front (higher score or lower cost): trials {', '.join(map(str, sorted(found['best'])))}.")
    against = found["against_recipe"]
    if against:
        low, high = against["ci95"]
        lines.append(
            f"Against the recipe as it stands (trial {against['recipe']}), paired on {against['n']} dev questions: "
            f"{100 * against['delta']:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, "
            f"p = {against['p']:.2g}). The best of several is picked by these same questions, which flatters it; those of `run` do not."
        )
    return lines


def _table(found: dict[str, Any]) -> list[str]:
    keys = list(found["space"])
    cost = f"cost ({found['cost_in']})"
    head = ["trial", "state", *keys, "dev score", "95 % interval", cost, "training s", "why"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for trial in found["trials"]:
        why = trial["reason"] or ("the recipe as it stands" if trial["recipe"] else "")
        why += f" (retry of {trial['retry_of']})" if trial["retry_of"] is not None else ""
        interval = f"{trial['ci95'][0]:.1%} to {trial['ci95'][1]:.1%}" if trial["ci95"] else ""
        score = f"{trial['score']:.1%}" if trial["score"] is not None else ""
        values = [_shown(trial["params"].get(key, "")) for key in keys]
        cells = [
            str(trial["number"]),
            trial["state"],
            *values,
            score,
            interval,
            _shown(trial["cost"]),
            _shown(trial["training_seconds"]),
            why,
        ]
        lines.append("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    return lines


def _metric_lines(found: dict[str, Any]) -> list[str]:
    raised = [(trial["number"], question, why) for trial in found["trials"] for question, why in (trial["metric_errors"] or {}).items()]
    if not raised:
        return []
    lines = [f"- trial {number}, {question}: {why}" for number, question, why in raised]
    return ["The metric raised on these answers, which count as wrong:", "", *lines[:20], *(["- ..."] if len(lines) > 20 else [])]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


@styled
def study_figure(study: Study) -> Figure | None:
    """Scores in the order of the trials with the best so far, and what Optuna finds each dimension to matter; None without a score."""
    from matplotlib.figure import Figure

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if not done:
        return None
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    history, matters = figure.subplots(1, 2)
    numbers, scores = [trial.number for trial in done], [trial.values[0] for trial in done]
    history.plot(numbers, scores, "o", label="trial")
    history.step(numbers, [max(scores[: n + 1]) for n in range(len(scores))], where="post", label="best so far")
    history.set(xlabel="trial", ylabel="dev score")
    history.legend()
    importance = _importance(study)
    matters.barh(list(importance), list(importance.values()))
    matters.invert_yaxis()
    matters.set(xlabel="importance (PED-ANOVA)" if importance else "importance: too few trials")
    return figure


def _importance(study: Study) -> dict[str, float]:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target = (lambda trial: trial.values[0]) if len(study.directions) > 1 else None
            return optuna.importance.get_param_importances(study, target=target)
        except (ValueError, RuntimeError):
            return {}
