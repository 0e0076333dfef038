"""The test questions of a run as logs of inspect_ai, a file a condition, for its viewer and its data frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.evaluation.stages import stages_of as stages_in
from optimizers.jobs.jsonlines import read_json
from optimizers.reports.prompts import Asked, CallsOnFile
from optimizers.sharing.dataset import writable
from optimizers.sharing.export import refuse_used
from optimizers.sharing.facts import origins_of
from optimizers.sharing.inspect_samples import identifier, measure_name, moment, sample_of, stages_of, usage_by
from optimizers.sharing.predictions import ROLES, Answered, answered, public_model
from optimizers.sharing.public import public_command, public_settings, public_value
from optimizers.sharing.shared_run import SharedRun, finished_run
from programs.lms.ledger import Usage

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalPlan, EvalResults, EvalSample, EvalScore, EvalSpec, EvalStats

_READ_BACK = 500
"""Samples that are read back at a time: a log of many would be in memory twice."""

_PLACE = ("test", "train", "variant")
"""What two cells of an experiment share that are compared."""


def export_logs(
    run: Path | str, folder: Path | str, conditions: Collection[str] = (), tell: Callable[[str], None] = lambda told: None
) -> list[Path]:
    """Write a log of inspect_ai for each condition, and read it back: `inspect view --log-dir FOLDER` shows them.

    A sample is a test question with its reference, the prompts and replies of both stages as they are on file, the task's score, and
    what it cost. A prompt is shown only where it is known to the letter. Messages of errors, addresses, keys and folders of this
    machine are left out. The same run gives the same files.

    Args:
        run: The folder of a finished run or experiment.
        folder: Where to write; must not be there, or be empty.
        conditions: Names of those that are wanted, `S_D-R+teacher`, or of cells, `gsm8k/gsm8k/S_D-R+teacher`; all by default.
        tell: Gets a sentence a log.

    Returns:
        The files, `<condition>.eval`; those of an experiment lie in folders, `<test>/<train>/<variant>/<condition>.eval`.

    Raises:
        ImportError: The extra `inspect` is not installed.
        ValueError: No finished run, an unknown condition, a folder that is in use, or answers that the figures are not of.
    """
    refuse_used(Path(folder))
    shared = finished_run(run)
    try:
        import inspect_ai.log  # noqa: F401
    except ImportError as error:
        raise ImportError("Logs of inspect_ai are an extra: pip install 'divide-or-conquer[inspect]'.") from error
    wanted = _chosen(list(answered(shared)), conditions, shared.folder)
    calls = CallsOnFile(shared.folder)
    written = []
    for one in wanted:
        path = Path(folder) / f"{one.name}.eval"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(log_of(shared, one, calls), path)
        tell(f"{path}: {len(one.lines)} samples")
        written.append(path)
    return written


def _chosen(found: Sequence[Answered], names: Collection[str], folder: Path) -> list[Answered]:
    unknown = [name for name in names if name not in {one.name for one in found} | {one.condition for one in found}]
    if unknown:
        raise ValueError(f"{folder} has no answers of {unknown[0]!r}; it has {[one.name for one in found]}.")
    return [one for one in found if not names or one.name in names or one.condition in names]


def _write(log: EvalLog, path: Path) -> None:
    """Write a log, and read it back.

    Raises:
        ValueError: It is read back as another one.
    """
    from inspect_ai.log import read_eval_log, write_eval_log

    write_eval_log(log, str(path))
    head, samples = read_eval_log(str(path), header_only=True), log.samples or []
    parts = (samples[at : at + _READ_BACK] for at in range(0, len(samples), _READ_BACK))
    if _head(head) != _head(log) or not all(_is_read_back(path, part) for part in parts):
        raise ValueError(f"{path} is read back as another log than was written; please report it, with the version of inspect_ai.")


def _head(log: EvalLog) -> str:
    return log.model_dump_json(exclude={"location", "etag", "samples"})


def _is_read_back(path: Path, samples: Sequence[EvalSample]) -> bool:
    """Whether some samples stand in a file as they are; inspect_ai keeps long texts apart."""
    from inspect_ai.log import read_eval_log_samples_by_id

    found = read_eval_log_samples_by_id(str(path), [(one.id, one.epoch) for one in samples], resolve_attachments="full")
    texts = ([one.model_dump_json(exclude={"attachments"}) for one in part] for part in (samples, found))
    return next(texts) == next(texts)


def log_of(run: SharedRun, found: Answered, calls: CallsOnFile) -> EvalLog:
    """The log of one condition.

    Args:
        run: The run.
        found: The condition's answers.
        calls: Of the run's folder.
    """
    from inspect_ai.log import EvalLog

    compiled = read_json(run.folder / "teacher_program.json") or None
    samples = [_sample(line, found, calls, compiled, _measure(run, found)) for line in found.lines]
    stats = _stats(found, samples)
    created = stats.started_at or moment((run.folder / "metrics.json").stat().st_mtime)
    return EvalLog(
        status="success",
        eval=_spec(run, found, created),
        plan=_plan(found),
        results=_results(run, found),
        stats=stats,
        samples=samples,
    )


def _sample(
    found_line: Mapping[str, Any], found: Answered, calls: CallsOnFile, compiled: Mapping[str, Any] | None, measure: str
) -> EvalSample:  # fmt: skip
    line: dict[str, Any] = writable(dict(found_line))
    exchanges = calls.exchanges(Asked(line, found.models, compiled))
    return sample_of(line, stages_of(line, exchanges, found.models), measure, found.name)


def _task(run: SharedRun, found: Answered) -> Mapping[str, Any]:
    return run.tasks().get(found.test) or {}


def _measure(run: SharedRun, found: Answered) -> str:
    return str(_task(run, found).get("measure") or "score")


def _spec(run: SharedRun, found: Answered, created: str) -> EvalSpec:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalRevision, EvalSpec
    from inspect_ai.model import ModelConfig

    task, commit = _task(run, found), run.metrics.get("commit")
    models = {ROLES.get(stage, stage): public_model(model) for stage, model in found.models.items()}
    ids = [line["id"] if isinstance(line["id"], int | str) else str(line["id"]) for line in found.lines]
    source = next((one.source for one in origins_of(run, found.test) if one.source), None)
    return EvalSpec(
        eval_id=identifier(run.files.config, found.name, created),
        run_id=identifier(run.files.config),
        task_id=identifier(run.files.config, found.name),
        created=created,
        task=str(task.get("task") or found.test),
        task_display_name=f"{found.test}: {found.name}",
        task_args=public_value("options", task.get("options") or {}),
        solver=found.name,
        tags=[name for name in (found.condition, found.train and f"trained on {found.train}", found.variant) if name],
        dataset=EvalDataset(name=found.test, location=source, samples=len(ids), sample_ids=ids),
        model=models.get("solver") or next(iter(models.values()), "not recorded"),
        model_roles={role: ModelConfig(model=model) for role, model in models.items()} or None,
        config=EvalConfig(epochs=1),
        revision=EvalRevision(type="git", origin="", commit=str(commit)) if commit else None,
        packages={name: str(version) for name, version in run.files.part("versions").items()},
        metadata=_about(run, found),
    )


def _about(run: SharedRun, found: Answered) -> dict[str, Any]:
    """What made the answers: settings, seeds and the machine."""
    typed = run.metrics.get("command")
    cell = {name: found.cell.get(name) for name in ("train", "variant", "student", "ablation", "seed", "data_seed", "sampling_seed")}
    told = {
        "condition": found.condition,
        "seed": run.metrics.get("seed"),
        **({"cell": {name: value for name, value in cell.items() if value is not None}} if run.is_experiment else {}),
        "command": public_command(str(typed)) if typed else None,
        "settings": public_settings(run.files.config),
        "prompt_formats": dict(run.files.part("formats")),
        "machine": dict(run.files.part("machine")),
        "timings": dict(run.files.part("timings")),
        "scoring": _task(run, found).get("scoring"),
    }
    return {name: value for name, value in told.items() if value not in (None, {})}


def _plan(found: Answered) -> EvalPlan:
    from inspect_ai.log import EvalPlan, EvalPlanStep

    steps = [EvalPlanStep(solver=stage, params={"model": public_model(model)}) for stage, model in found.models.items()]
    return EvalPlan(name=found.condition, steps=steps)


def _results(run: SharedRun, found: Answered) -> EvalResults:
    from inspect_ai.log import EvalResults, HeadlineMetric

    cell, measure = found.cell, _measure(run, found)
    scored = int(cell.get("scored") or 0)
    entries = {measure: cell, **{measure_name(name, measure): one for name, one in (cell.get("measures") or {}).items()}}
    compared = [one for one in run.files.records("comparisons") if found.condition in (one.get("a"), one.get("b")) and _beside(one, found)]
    told = {name: cell.get(name) for name in ("states", "counts", "failures")}
    return EvalResults(
        total_samples=len(found.lines),
        completed_samples=sum(line["score"] is not None or not line["error"] for line in found.lines),
        scores=[_score(name, one, scored, len(found.lines)) for name, one in entries.items()],
        headline=HeadlineMetric(scorer=measure, score=measure, metric="mean"),
        metadata={**{name: value for name, value in told.items() if value}, "comparisons": compared},
    )


def _beside(comparison: Mapping[str, Any], found: Answered) -> bool:
    """Whether a comparison is of the cell's own place; of a run all are."""
    return all((comparison.get(name) or "") == (found.cell.get(name) or "") for name in _PLACE)


def _score(name: str, entry: Mapping[str, Any], scored: int, n: int) -> EvalScore:
    """A mean with the ends of its 95 % interval."""
    from inspect_ai.log import EvalMetric, EvalScore

    low, high = entry.get("ci95") or (None, None)
    values = {"mean": entry.get("score"), "ci95_low": low, "ci95_high": high}
    metrics = {key: EvalMetric(name=key, value=math.nan if value is None else value) for key, value in values.items()}
    return EvalScore(name=name, scorer=name, scored_samples=scored, unscored_samples=n - scored, metrics=metrics)


def _stats(found: Answered, samples: Sequence[EvalSample]) -> EvalStats:
    """Times of the calls on file, and what all of them cost."""
    from inspect_ai.log import EvalStats

    costs = {stage: Usage.from_dict(dict(usage)) for stage, usage in stages_in(found.cell).items()}
    models = {stage: public_model(found.models.get(stage, "not recorded")) for stage in costs}
    calls = [event for sample in samples for event in sample.events if event.event == "model"]
    begun: dict[str, datetime] = {}
    for call in calls:
        begun[call.role] = min(call.timestamp, begun.get(call.role, call.timestamp))
    return EvalStats(
        # Where conditions share a stage, its calls may be hours older: the condition was asked when its last stage began.
        started_at=max(begun.values()).isoformat(timespec="milliseconds") if begun else "",
        completed_at=max(call.completed for call in calls).isoformat(timespec="milliseconds") if calls else "",
        model_usage=usage_by({stage: (models[stage], usage) for stage, usage in costs.items()}),
        role_usage=usage_by({stage: (ROLES.get(stage, stage), usage) for stage, usage in costs.items()}),
    )
