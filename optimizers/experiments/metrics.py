"""Sums a run folder up into `metrics.json`."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from optimizers.conditions import stages_in
from optimizers.evaluation.evaluate import answers, summarise
from optimizers.evaluation.statistics import holm, paired_comparison, retention
from optimizers.experiments.distillation import STANDS_IN_TEST, Distillation, noted_labelling
from optimizers.experiments.overlap import learned_from, overlap, repeated_in
from optimizers.experiments.run_job import MainJob
from optimizers.jobs.jsonlines import read_lines
from optimizers.jobs.work import read_timings
from optimizers.screening.precision import read_measures
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import task_options
from programs.lms.artifacts import installed_versions
from programs.lms.devices import usable_cores

_ROLES = {"teacher": "teacher", "student": "student0", "solver": "solver"}

_PACKAGES = ("divide-or-conquer", "dspy", "torch", "transformers", "trl", "peft", "openvino-genai", "optuna")


def build_metrics(job: MainJob) -> dict[str, Any]:
    """Everything that the report and a reader need, from the files of the run folder."""
    config, folder = job.config, job.folder
    tested = job.splits["test"]
    predictions = {c.name: answers(folder / "predictions" / f"{c.name}.jsonl", tested) for c in job.conditions}
    predictions = {name: lines for name, lines in predictions.items() if lines}
    conditions = {name: summarise(lines) for name, lines in predictions.items()}
    scores = {name: {line["id"]: line["score"] for line in lines if line["score"] is not None} for name, lines in predictions.items()}
    labelling, students = labelling_of(folder), trained(job.distillation)
    return {
        "schema": 1,
        "task": config.task.name,
        "task_options": task_options(config.task, config.seed),
        "test_ids": [example.id for example in tested],
        "measure": job.task.measure,
        "scoring": job.task.scoring,
        **provenance(config, folder),
        "models": {name: job.roles.model(role).model for name, role in _ROLES.items()},
        **_overlap(job),
        "labelling": labelling,
        "screening": read_measures(folder),
        **({"incomplete": f"labelling stopped: {labelling['stopped']}"} if "stopped" in labelling else {}),
        "training": {"decompose": list(students.values())[-1]} if students else {},
        "students": students,
        "conditions": conditions,
        "comparisons": _comparisons(scores),
        "retention": _retentions(scores),
        "saving": _saving(conditions),
    }


def _overlap(job: MainJob) -> dict[str, int]:
    """How many test questions were learned from, chosen by, or shown."""
    learned = learned_from(job.splits, read_lines(job.folder / "rows.jsonl"))
    reported, roles = job.splits["test"], job.roles
    found = [repeated_in(roles.folder_of(student), learned, reported) for student in job.distillation.students]
    return overlap(learned, roles.teacher_program, reported, [example.id for examples in found for example in examples])


def provenance(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Where the figures come from: command, commit, versions, seed, machine and time."""
    timings = read_timings(folder)
    return {
        "command": _command(),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **installed_versions(*_PACKAGES)},
        "seed": config.seed,
        "machine": _machine(),
        "seconds": round(sum(timings.values()), 1),
        "timings": timings,
    }


def labelling_of(labels: Path) -> dict[str, Any]:
    """What labelling cost, and how many rows each policy kept or dropped for what reason."""
    policies: dict[str, Any] = {}
    # Students of the same policy see the same samples: one of them stands for all.
    counted: dict[str, tuple[str, str]] = {}
    for row in read_lines(labels / "rows.jsonl"):
        made = (row["student"], row["target"])
        if counted.setdefault(row["policy"], made) != made:
            continue
        entry = policies.setdefault(row["policy"], {"kept": 0, "dropped": Counter()})
        if row.get("reason") == STANDS_IN_TEST:
            entry["left_out"] = entry.get("left_out", 0) + 1
            continue
        if row.get("origin"):
            entry.setdefault("augmented", Counter())[row["origin"]] += 1
            continue
        entry["kept"] += row["kept"]
        if not row["kept"]:
            entry["dropped"][row["reason"]] += 1
    screened = next((entry for policy, entry in policies.items() if policy != "none"), None)
    last = screened or policies.get("none") or {"kept": 0, "dropped": {}}
    return {**noted_labelling(labels), **last, "by_policy": policies}


def trained(distillation: Distillation) -> dict[str, Any]:
    """What is known of every student that has an artifact."""
    found = {}
    for student in distillation.students:
        folder = distillation.roles.folder_of(student)
        if (folder / "manifest.json").exists():
            artifact = distillation.roles.artifact_of(student)
            found[student] = {**artifact.manifest["metrics"], "model": artifact.model_string}
    return found


def _comparisons(scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Every pair of conditions on the questions that both were scored on, Holm-adjusted over all pairs."""
    rows: list[dict[str, Any]] = []
    for a, b in combinations(scores, 2):
        rows.append({"a": a, "b": b, **paired_comparison(scores[a], scores[b]).to_dict()})
    for row, adjusted in zip(rows, holm([float(row["p"]) for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _retentions(scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """What share of the teacher's score each other decomposer keeps before the same solver."""
    rows = []
    for name in scores:
        decomposer, solver = stages_in(name) or ("teacher", "")
        reference = f"teacher+{solver}"
        if decomposer != "teacher" and reference in scores:
            kept = retention(scores[name], scores[reference])
            rows.append({"a": name, "b": reference, "ratio": kept.estimate, "ci95": [kept.low, kept.high]})
    return rows


def _saving(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What the teacher's decomposition stage costs per 1,000 questions: what a local decomposer saves of the bill."""
    teacher = next((c for name, c in conditions.items() if name.startswith("teacher+")), None)
    if not teacher or "decompose" not in teacher:
        return {}
    scale, usage = 1000 / teacher["n"], teacher["decompose"]
    usd = None if usage["usd"] is None else usage["usd"] * scale
    tokens = {key: round(usage[key] * scale) for key in ("calls", "input_tokens", "output_tokens")}
    return {"per_1000_questions": {**tokens, "usd": usd}}


def _command() -> str | None:
    """What was typed, where it was the command line that ran."""
    name = Path(sys.argv[0]).name
    return shlex.join(["divide-or-conquer", *sys.argv[1:]]) if name in {"divide-or-conquer", "cli.py"} else None


def _commit() -> str | None:
    """The commit of the source tree that runs, where it is a git checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {"cpu": _cpu_name(), "cores": usable_cores(), "memory_gib": memory and round(memory, 1), "system": platform.system()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
