"""Every screening policy on the same samples of the teacher: rows kept, precision and recall against the oracle, and cost.

    python benchmarks/screening.py --questions 100 --samples 4 --folder runs/screening

The folder keeps every call: the same command again continues, and asks nothing twice. With the embedded models it shows
how the policies work on real models and synthetic questions; with `--teacher openai/... --task gsm8k`, on the paper's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import dspy

from optimizers.jobs.progress import ProgressDisplay
from optimizers.labelling.collect import collect
from optimizers.labelling.samples import Collected
from optimizers.reports.blocks import Section, Text
from optimizers.reports.screening import policy_table
from optimizers.reports.write import markdown
from optimizers.screening import Agreement, Asking, Judge, SelfConsistency
from optimizers.screening.policy import Policy, policy_by_name
from optimizers.screening.precision import measure
from optimizers.screening.screen import KEEP, screen
from programs import SingleStage, TwoStage
from programs.lms import catalog
from programs.lms.ledger import Ledger, Prices, recording
from programs.tasks import load_task
from programs.tasks.base import Task


def main() -> None:
    options = _options()
    started = time.monotonic()
    with recording(Ledger(Prices(options.usd_per_hour))):
        report = _measured(options)
    report["wall_seconds"] = round(time.monotonic() - started, 1)
    (options.folder / "screening_benchmark.json").write_text(json.dumps(report, indent=1) + "\n")
    print(_text(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/screening"), help="of the calls and samples")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--samples", type=int, default=4, help="of the teacher, a question")
    parser.add_argument("--votes", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.6, help="of the votes that has to agree")
    parser.add_argument("--temperature", type=float, default=0.7, help="of samples and votes")
    parser.add_argument("--teacher", default="embedded/teacher")
    parser.add_argument("--judge", help="model string; by default the teacher")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--task", default="multihop")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the task, such as schema=people or hops=2,3")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--usd-per-hour", type=float, help="price of an hour of this machine, for local models")
    return parser.parse_args()


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    task = load_task(options.task, **dict(option.split("=", 1) for option in options.option))
    examples = task.load("train", options.questions)
    teacher = TwoStage(max_subquestions=task.max_subquestions, decomposer_sees_context=task.decomposer_sees_context)
    teacher.set_lm(catalog.lm(options.teacher, max_tokens=options.max_tokens))
    with ProgressDisplay() as display:

        def asking(stage: str) -> dict[str, Any]:
            def show(done: int, total: int, failed: int, left: float | None) -> None:
                display.update(stage, done, total, f"{failed} failed" if failed else "")

            return {"threads": options.threads, "progress": show}

        several = {"samples": options.samples, "temperature": options.temperature if options.samples > 1 else None}
        collected = collect(teacher, examples, folder=options.folder, **several, **asking("label"))
        records = []
        for policy in _policies(options, teacher):
            allowed = Asking(teacher, options.folder, **asking(f"screen: {policy.name}"))
            records.append(_record(policy, collected, examples, task, allowed))
    settings = {key: str(value) for key, value in vars(options).items()}
    return {"settings": settings, "samples": collected.done, "failed": dict(collected.failed), "policies": records}


def _policies(options: argparse.Namespace, teacher: TwoStage) -> list[Policy]:
    thinking = SingleStage(chain_of_thought=True)
    thinking.set_lm(teacher.solve.lm)
    by_thinking = Agreement(options.votes, options.temperature, thinking)
    by_thinking.name = "agreement, chain of thought"
    return [
        policy_by_name("none"),
        policy_by_name("oracle"),
        SelfConsistency(options.votes, options.share, options.temperature),
        Agreement(options.votes, options.temperature),
        by_thinking,
        Judge(catalog.lm(options.judge, max_tokens=options.max_tokens) if options.judge else None),
    ]


def _record(policy: Policy, collected: Collected, examples: list[dspy.Example], task: Task, asking: Asking) -> dict[str, Any]:
    """What `measure` finds, and the rows that each way to choose among a question's samples would train on."""
    rows = {}
    for keep in KEEP:
        decisions = screen(collected, examples, policy, score=task.score, keep=keep, asking=asking)
        rows[keep] = sum(decision.kept for decision in decisions)
    return {**measure(policy, collected, examples, task.score), "rows": rows}


def _text(report: dict[str, Any]) -> str:
    settings, records = report["settings"], report["policies"]
    table = policy_table(records)
    columns = [table.columns[0], *(f"Rows, {keep}" for keep in KEEP), *table.columns[1:]]
    rows = [
        [cells[0], *(str(record["rows"][keep]) for keep in KEEP), *cells[1:]] for cells, record in zip(table.rows, records, strict=True)
    ]
    shown = type(table)(columns, rows, frozenset({0, len(columns) - 1}))
    words = (
        f"{settings['questions']} questions of {settings['task']}, {settings['samples']} samples each at temperature "
        f"{settings['temperature']}, {settings['votes']} votes, share {settings['share']}; teacher {settings['teacher']}, judge "
        f"{settings['judge'] if settings['judge'] != 'None' else settings['teacher']}. {report['wall_seconds']:.0f} s in this run."
    )
    return markdown("Screening policies on the same samples", [Section("Policies", [Text(words), shown])])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
