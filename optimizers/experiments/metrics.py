"""Sums a run folder up into `metrics.json`."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import dspy

from optimizers.conditions import DECOMPOSING_ROLES, FEEDBACK, Condition, stages_in
from optimizers.evaluation.answers import answers_on_file, scores_of
from optimizers.evaluation.costs import break_even, cost_per_question, one_off_cost
from optimizers.evaluation.passages import passages_of
from optimizers.evaluation.stages import answered_in, stages_of
from optimizers.evaluation.statistics import Passages, holm, paired_comparison, retention
from optimizers.evaluation.summary import summarise
from optimizers.experiments.cascades import choice_on_file
from optimizers.experiments.distillation import STANDS_IN_TEST, Distillation, noted_labelling
from optimizers.experiments.overlap import learned_from, overlap, repeated_in
from optimizers.experiments.roles import Roles
from optimizers.experiments.run_job import MainJob
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.jobs.scorer_costs import read_scorer_costs
from optimizers.jobs.work import read_timings
from optimizers.screening.precision import read_measures, screening_cost
from optimizers.settings.run import RunConfig
from optimizers.settings.splits import task_options
from programs.lms.artifacts import installed_versions
from programs.lms.devices import usable_cores
from programs.lms.ledger import Prices, Usage
from programs.parts import FIRST, SECOND, model_of, stage_in
from programs.tasks.base import canonical, usable_golds
from programs.tasks.scorers import golds_of

_ROLES = {"teacher": "teacher", "student": "student0", "solver": "solver"}

_PACKAGES = ("divide-or-conquer", "dspy", "torch", "transformers", "trl", "peft", "openvino-genai", "vllm", "optuna")


def build_metrics(job: MainJob) -> dict[str, Any]:
    """Everything that the report and a reader need, from the files of the run folder."""
    config, folder = job.config, job.folder
    tested = job.splits["test"]
    found = {c.name: answers_on_file(folder / "predictions" / f"{c.name}.jsonl", tested) for c in job.conditions}
    predictions = {name: lines for name, lines in found.items() if lines}
    models = {c.name: _models(job, c) for c in job.conditions if c.name in predictions}
    conditions = {name: {**summarise(lines), "models": models[name]} for name, lines in predictions.items()}
    scores, passages = {name: scores_of(lines) for name, lines in predictions.items()}, passages_of(tested)
    labelling, students = labelling_of(folder), trained(job.distillation)
    return {
        "schema": 1,
        "task": config.task.name,
        "task_options": task_options(config.task, config.seed),
        "test_ids": [example.id for example in tested],
        "measure": job.task.measure,
        "scoring": job.task.scoring,
        **_commonest(tested),
        **provenance(config, folder),
        "models": {name: job.roles.model(role).model for name, role in _ROLES.items()},
        "formats": {name: job.roles.format_name(name) for name in ("teacher", "solver", *students)},
        **_overlap(job),
        "labelling": labelling,
        "screening": read_measures(folder),
        **({"incomplete": f"labelling stopped: {labelling['stopped']}"} if "stopped" in labelling else {}),
        "training": {"decompose": list(students.values())[-1]} if students else {},
        "students": students,
        "skipped": read_json(folder / "skipped.json"),
        "conditions": conditions,
        **_cascades(job, conditions),
        "comparisons": _comparisons(scores, passages),
        "retention": _retentions(scores, passages),
        "saving": _saving(conditions),
        "cost": _costs(job, conditions),
    }


def _overlap(job: MainJob) -> dict[str, int]:
    """How many test questions were learned from, chosen by, or shown."""
    learned = learned_from(job.splits, read_lines(job.folder / "rows.jsonl"))
    reported, roles = job.splits["test"], job.roles
    found = [repeated_in(roles.folder_of(student), learned, reported) for student in job.distillation.students]
    return overlap(learned, roles.teacher_program, reported, [example.id for examples in found for example in examples])


def _commonest(tested: Sequence[dspy.Example]) -> dict[str, Any]:
    """The answer that is right most often, and how often: what whoever always gives it scores; nothing where none is right twice."""
    accepted = Counter(text for example in tested for text in {*map(canonical, usable_golds(golds_of(example)))})
    answer, count = next(iter(accepted.most_common(1)), ("", 0))
    return {"commonest": {"answer": answer, "share": count / len(tested)}} if count > 1 else {}


def provenance(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Where the figures come from: command, commit, versions, seed, machine and time; and what a scorer has asked of LMs."""
    timings = read_timings(folder)
    return {
        "command": _command(folder),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **installed_versions(*_PACKAGES)},
        "seed": config.seed,
        "machine": _machine(),
        "seconds": round(sum(timings.values()), 1),
        "timings": timings,
        **({"scorer": asked} if (asked := read_scorer_costs(folder)) else {}),
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
        if row["kept"] and row.get("traced"):
            entry["from_traces"] = entry.get("from_traces", 0) + 1
        if row["kept"] and row.get("cut_off"):
            entry["without_answer"] = entry.get("without_answer", 0) + 1
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


def _comparisons(scores: Mapping[str, Mapping[str, float]], passages: Passages) -> list[dict[str, Any]]:
    """Every pair of conditions on the questions that both were scored on, Holm-adjusted over all pairs."""
    rows: list[dict[str, Any]] = []
    for a, b in combinations(scores, 2):
        rows.append({"a": a, "b": b, **paired_comparison(scores[a], scores[b], passages=passages).to_dict()})
    for row, adjusted in zip(rows, holm([float(row["p"]) for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _retentions(scores: Mapping[str, Mapping[str, float]], passages: Passages) -> list[dict[str, Any]]:
    """What share of the teacher's score each other decomposer keeps before the same solver."""
    rows = []
    for name in scores:
        decomposer, solver = stages_in(name) or ("teacher", "")
        reference = f"teacher+{solver}"
        if decomposer != "teacher" and reference in scores:
            kept = retention(scores[name], scores[reference], passages=passages)
            rows.append({"a": name, "b": reference, "ratio": kept.estimate, "ci95": [kept.low, kept.high]})
    return rows


def models_of(condition: Condition, roles: Roles) -> dict[str, str]:
    """Model string of each stage of a condition; stages without a model of their own are left out."""
    if condition.parts:
        named = zip((FIRST, SECOND), condition.parts, strict=True)
        return {stage_in(name, stage): model for name, part in named for stage, model in models_of(part, roles).items()}
    solver = roles.model(condition.solver).model
    if condition.decomposer is None:
        return {"answer": solver, **({"follow_up": solver} if condition.form == "interactive" else {})}
    if condition.decomposer in ("none", "reference", "generic"):
        return {"solve": solver}
    # The other controls spoil what the teacher writes.
    asked = "teacher" if condition.decomposer not in DECOMPOSING_ROLES else condition.decomposer.removesuffix(FEEDBACK)
    return {"decompose": roles.model(asked).model, "solve": solver}


def _models(job: MainJob, condition: Condition) -> dict[str, str]:
    """As `models_of`; empty where a student's artifact is no longer there, whose answers still are."""
    there = all((job.roles.folder_of(student) / "manifest.json").exists() for student in condition.students)
    return models_of(condition, job.roles) if there else {}


def condition_cost(summary: Mapping[str, Any], models: Mapping[str, str], prices: Prices) -> dict[str, Any]:
    """`cost_per_question` of a summed-up condition; stages that `models` does not name are the solver's."""
    used = {stage: model_of(stage, models) for stage in stages_of(summary)}
    return cost_per_question(summary, used, prices)


def _costs(job: MainJob, conditions: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a question costs under each condition, and when its students have paid for themselves."""
    known = {name: summary for name, summary in conditions.items() if summary["models"]}
    found = {name: condition_cost(summary, summary["models"], job.prices) for name, summary in known.items()}
    rows = []
    for condition in job.conditions:
        if (cost := found.get(condition.name)) is not None:
            paid = payback(job.distillation, condition.students, cost, found.get("teacher+teacher"), job.prices)
            rows.append({"condition": condition.name, "per_question": cost["total"], "stages": cost["stages"], **paid})
    return rows


def payback(
    distillation: Distillation, students: Sequence[str], cost: Mapping[str, Any], teacher: Mapping[str, Any] | None, prices: Prices
) -> dict[str, Any]:
    """The one-off cost of a condition's students, and after how many questions it is paid back; empty without any.

    Where labels came with traces, what these cost is not in it: `one_off` says of how many (`traced`), and all of it is a least amount.

    Args:
        distillation: What trained them.
        students: Their names.
        cost: `condition_cost` of the condition.
        teacher: The same of the teacher in both stages; None where that was not asked.
        prices: For the time of the training.
    """
    if not students or teacher is None:
        return {}
    known, labelling = trained(distillation), labelling_of(distillation.notes)
    policies = {distillation.policy_of(name) for name in students}
    usage = Usage.from_dict(labelling) + screening_cost(distillation.notes, policies)
    seconds = sum(known[name]["seconds"] for name in students if name in known)
    paid = break_even(cost, teacher, one_off_cost(labelling | usage.to_dict(), seconds, prices=prices))
    training_usd = prices.usd("local/student", 0, 0, seconds)
    once: dict[str, Any] = {
        "labelling_usd": usage.usd,
        "training_usd": training_usd,
        "labelling_seconds": usage.seconds,
        "training_seconds": seconds,
    }
    if labelling.get("traced"):
        # What others paid for these labels is in none of the figures.
        once["traced"] = labelling["traced"]
    questions = {f"questions_{measure}": one.questions for measure, one in paid._asdict().items()}
    return {"one_off": once, "break_even": {**questions, "reason": paid.usd.reason, "measures": paid.to_dict()}}


def _cascades(job: MainJob, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """How the threshold of each cascade was chosen; nothing in a run without any."""
    found = [choice_on_file(job.folder / "predictions", c.name) for c in job.conditions if c.parts and c.name in conditions]
    return {"cascades": found} if found else {}


def _saving(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What the teacher's decomposition stage costs per 1,000 questions: what a local decomposer saves of the bill."""
    teacher = next((c for name, c in conditions.items() if (stages_in(name) or ("",))[0] == "teacher"), None)
    if not teacher or "decompose" not in teacher or not answered_in(teacher):
        return {}
    scale, usage = 1000 / answered_in(teacher), teacher["decompose"]
    usd = None if usage["usd"] is None else usage["usd"] * scale
    tokens = {key: round(usage[key] * scale) for key in ("calls", "input_tokens", "output_tokens")}
    return {"per_1000_questions": {**tokens, "usd": usd}}


def _command(folder: Path) -> str | None:
    """What was typed, where it was the command line that ran; who only reports again did not make the figures."""
    name = Path(sys.argv[0]).name
    if sys.argv[1:2] == ["report"] and (made := read_json(folder / "metrics.json").get("command")):
        return str(made)
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
