"""Run a training job in its own process, watch it, and publish what it leaves as an artifact."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from optimizers.finetune.bases import check_installed
from optimizers.finetune.identity import Rows, TrainingIdentity, row_lines
from optimizers.finetune.job_folder import EXIT_LIMIT, lock_of, read_progress
from optimizers.finetune.reporting import reported
from optimizers.finetune.several_processes import check_gpus, launch_arguments, processes_of
from optimizers.finetune.spec import TrainingSpec
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.jobs.processes import start_module
from optimizers.labelling.journal import LimitReached
from programs.lms.artifacts import MERGE_INTO, Artifact, open_artifact, publish, register, sha256
from programs.lms.model_strings import LOCAL_PREFIXES, is_local, pinned
from programs.lms.trained_prompts import TrainedPrompt, manifest_entry, prompts_of_model

Progress = Callable[[int, int, float | None], None]
"""Called with (steps done, steps in all, last loss)."""

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    # Batches of changing length make glibc hand big blocks back to the system and fault them in again at every step.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
    # OpenMP threads that spin for long take the core from whatever else runs on a small machine; those that sleep at
    # once wake up too late for LoRA's small matrix products.
    "GOMP_SPINCOUNT": "20000",
}

EARLIER = "earlier"
"""Folder of artifacts that others took the place of."""

_TRAINER = "optimizers.finetune.trainer"

_POLL_SECONDS = 0.2

_STOP_SECONDS = 60


class TrainingError(RuntimeError):
    """Training ended without a model; the message carries the end of its log."""


class TrainingStopped(KeyboardInterrupt):
    """Training was interrupted and left a checkpoint; the same call continues from it."""


def train(
    rows: Sequence[dict[str, Any]],
    spec: TrainingSpec,
    target: Path,
    *,
    name: str,
    adapter: str,
    base: str,
    dev_rows: Sequence[dict[str, Any]] = (),
    prompts: Mapping[str, TrainedPrompt] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    replace: bool = False,
) -> Artifact:
    """Fine-tune on chats, and return the artifact in `target`.

    A finished artifact of the same rows and settings is returned at once; a killed job continues from its checkpoint.

    Args:
        rows: Chats (`messages`), the last message the assistant's. For a `PreferenceSpec` each has `rejected` too, the
            worse text in place of the last message's; for a `GroupRewardSpec` they are prompts, each with its `example`.
        spec: Settings, whose class says what kind of training it is; `spec.base` is the folder or Hugging Face id to start from.
        target: Folder of the artifact; the work is done in `<target>.work` beside it.
        name: The artifact's name, part of its model string.
        adapter: Name of the prompt format that the rows were rendered with.
        base: Model string of what is trained, for the manifest.
        dev_rows: Chats whose loss picks the best checkpoint; none keeps the last.
        prompts: Predictor name -> what its rows look like, for the manifest; by default what the base was trained on.
        progress: See `Progress`.
        cancelled: Asked twice a second; True stops as Ctrl-C does.
        replace: Move an artifact of other rows or settings aside, see `keep_aside`; without it, it is refused.

    Raises:
        TrainingError: The process failed; nothing is published.
        TrainingStopped: Interrupted, with a checkpoint.
        LimitReached: Of a `GroupRewardSpec`; the same call with higher limits continues from the last checkpoint.
        ValueError: `target` holds another artifact, and `replace` is not set; what `check_installed` and `check_gpus` refuse; or an
            adapter is to be saved alone, and its base is not known by content.
    """
    spec = spec.seeded(0)
    check_installed(spec)
    merge_into = _pinned_base(base) if spec.save_weights == "adapter" else None
    identity = TrainingIdentity(rows, dev_rows, spec, adapter, base)
    if replace:
        _take_back(target, identity)
    if (target / "manifest.json").exists():
        return _registered(_reuse(target, identity))
    check_gpus(spec)
    work = target.with_name(target.name + ".work")
    with FileLock(lock_of(work)):
        _prepare(work, identity)
    with reported(work, target, identity.digest) as report:
        _run(work, spec, len(rows), progress, cancelled)
        artifact = _publish(work, target, identity, merge_into, name, prompts)
        report(artifact.manifest["metrics"])
    return _registered(artifact)


def keep_aside(target: Path) -> None:
    """Move an artifact to `earlier/` beside it, under its content name, by which it can still be loaded."""
    artifact = open_artifact(target, verify=False)
    place = target.parent / EARLIER / f"{target.name}-{artifact.hash}"
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        shutil.rmtree(target)
    else:
        target.rename(place)
    register(open_artifact(place, verify=False))


def _take_back(target: Path, identity: TrainingIdentity) -> None:
    """Put the artifact that is asked for in place, if it was made before, and move another one aside."""
    manifest = target / "manifest.json"
    if manifest.exists():
        if identity.is_of(read_json(manifest)):
            return
        keep_aside(target)
    for place in sorted((target.parent / EARLIER).glob(f"{target.name}-*/manifest.json")):
        if identity.is_of(read_json(place)):
            place.parent.rename(target)
            return


def _registered(artifact: Artifact) -> Artifact:
    register(artifact)
    return artifact


def _reuse(target: Path, identity: TrainingIdentity) -> Artifact:
    try:
        artifact = open_artifact(target)
    except ValueError as error:
        raise ValueError(
            f"{error} To train it again, move {target} away and run the same command: its rows are on file, and nobody is asked again."
        ) from error
    if not identity.is_of(artifact.manifest):
        raise ValueError(
            f"{target} holds an artifact of other rows or settings, as after a change of the data. Artifacts are never overwritten: choose "
            "another folder, or move it away and train it again (--redo distill does)."
        )
    return artifact


def _prepare(work: Path, identity: TrainingIdentity) -> None:
    """Lay out the job folder, starting over if what stands there is of another job."""
    mark = work / "identity"
    if not mark.exists() or mark.read_text(errors="replace") not in identity.digests:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    _write_rows(work / "rows.jsonl", identity.rows)
    if identity.dev_rows:
        _write_rows(work / "dev_rows.jsonl", identity.dev_rows)
    (work / "job.json").write_text(identity.spec.model_dump_json(indent=1))
    mark.write_text(identity.digest)


def _write_rows(path: Path, rows: Rows) -> None:
    with path.open("w") as file:
        file.writelines(row_lines(rows))


def _run(work: Path, spec: TrainingSpec, rows: int, progress: Progress | None, cancelled: Callable[[], bool]) -> None:
    log_path, processes = work / "log.txt", processes_of(spec)
    with log_path.open("ab") as log:
        process = start_trainer(work, log, processes, spec.accelerate_config)
        if progress and not read_progress(work):
            progress(0, spec.steps_of(rows, processes), None)
        try:
            _watch(process, work, progress, cancelled)
        except BaseException:
            _stop(process)
            raise
    if process.returncode == EXIT_LIMIT:
        raise LimitReached(read_json(work / "limit.json")["reason"])
    if process.returncode:
        raise TrainingError(_failure(process.returncode, log_path))


def _failure(code: int, log_path: Path) -> str:
    if code < 0:
        by = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if by == "SIGKILL":
            by += ", as a system does where memory runs out (training.gradient_checkpointing needs less, and "
            by += "a smaller training.batch_size with more training.gradient_accumulation)"
        return f"Training was ended from outside by {by}; the same command goes on from its last saved step. Its log: {log_path}"
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-12:])
    return f"Training failed with exit code {code}; its log is {log_path}. Its end:\n{tail}"


def start_trainer(work: Path, log: IO[bytes], processes: int = 1, accelerate_config: str | None = None) -> subprocess.Popen[bytes]:
    """Start the training of a job folder in a process of its own, or in several that share each step."""
    ours = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    if processes == 1 and not accelerate_config:
        return start_module(_TRAINER, str(work), log=log, **ours)
    together = launch_arguments(_TRAINER, work, processes, accelerate_config)
    return start_module("optimizers.finetune.several_processes", *together, log=log, **ours)


def _watch(process: subprocess.Popen[bytes], work: Path, progress: Progress | None, cancelled: Callable[[], bool]) -> None:
    while process.poll() is None:
        if cancelled():
            raise TrainingStopped("training was cancelled; the same call continues it")
        _report(work, progress)
        time.sleep(_POLL_SECONDS)
    _report(work, progress)


def _report(work: Path, progress: Progress | None) -> None:
    records = read_progress(work)
    if progress and records:
        losses = [record["loss"] for record in records if "loss" in record]
        progress(records[-1]["step"], records[-1]["steps"], losses[-1] if losses else None)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the trainer to save and end; it gets the time of a step and a checkpoint."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _publish(
    work: Path,
    target: Path,
    identity: TrainingIdentity,
    merge_into: str | None,
    name: str,
    prompts: Mapping[str, TrainedPrompt] | None,
) -> Artifact:
    metrics = read_json(work / "done.json")
    model = work / "model"
    for extra in ("adapter", "progress.jsonl", "rows.jsonl"):
        if (work / extra).exists():
            shutil.move(work / extra, model / extra)
    if merge_into:
        _name_base(model / "adapter_config.json", merge_into)
    artifact = publish(
        model,
        target,
        name=name,
        base=identity.base,
        adapter=identity.adapter,
        training=identity.spec.model_dump(exclude={"base"}),
        training_identity=identity.digest,
        rows_sha256=sha256(model / "rows.jsonl"),
        metrics=metrics,
        **({MERGE_INTO: merge_into} if merge_into else {}),
        # Preference pairs and rewards keep to the prompts of their base.
        **manifest_entry(prompts_of_model(identity.base) if prompts is None else prompts),
    )
    shutil.rmtree(work, ignore_errors=True)
    lock_of(work).unlink(missing_ok=True)
    return artifact


def _pinned_base(base: str) -> str:
    """The model string of an adapter's base with its hash or revision, by which it is found again."""
    if not is_local(base):
        raise ValueError(
            f"training.save_weights='adapter' needs a base that is found again by its content, and {base!r} is none of {LOCAL_PREFIXES}; "
            "save it 'merged'."
        )
    return pinned(base)


def _name_base(config: Path, base: str) -> None:
    """Let an adapter name its base, where peft wrote a folder of this machine."""
    name, _, revision = base.removeprefix("hf/").partition("@")
    on_hub = {"base_model_name_or_path": name, "revision": revision or None}
    write_json(config, {**read_json(config), **(on_hub if base.startswith("hf/") else {"base_model_name_or_path": base})})
