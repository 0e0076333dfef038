"""What does each screening policy keep of the same samples, how right is it against the oracle, and what does it cost?

    python benchmarks/screening.py --questions 100 --samples 4 --folder runs/screening

The folder keeps every call: the same command again continues, and asks nothing twice. Prints a table, and writes its figures
to `screening_benchmark.json` there. With the embedded models it shows
how the policies work on real models and synthetic questions; with `--teacher openai/... --task gsm8k`, on the paper's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
from frame import Arguments, command, origin, origin_line, setting, working

from optimizers.jobs.jsonlines import write_json
from optimizers.jobs.progress import Progress
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
    with recording(Ledger(Prices(options.usd_per_hour))), working(options.folder, "screening") as show:
        report = _measured(options, show)
    report["wall_seconds"] = round(time.monotonic() - started, 1)
    write_json(options.folder / "screening_benchmark.json", report)
    print(f"{_text(report)}\n{origin_line(origin(options.folder))}")


def _options() -> argparse.Namespace:
    parser = Arguments(__doc__)
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


def _measured(options: argparse.Namespace, show: Progress) -> dict[str, Any]:
    task = load_task(options.task, **dict(map(setting, options.option)))
    examples = task.load("train", options.questions)
    teacher = TwoStage(max_subquestions=task.max_subquestions, decomposer_sees_context=task.decomposer_sees_context)
    teacher.set_lm(catalog.lm(options.teacher, max_tokens=options.max_tokens))
    several = {"samples": options.samples, "temperature": options.temperature if options.samples > 1 else None}
    calls = {"threads": options.threads, "progress": _calls(show, "label")}
    collected = collect(teacher, examples, folder=options.folder, **several, **calls)
    records = []
    for policy in _policies(options, teacher):
        calls["progress"] = _calls(show, f"screen: {policy.name}")
        records.append(_record(policy, collected, examples, task, Asking(teacher, options.folder, **calls)))
    settings = {key: str(value) for key, value in vars(options).items()}
    return {"settings": settings, "samples": collected.done, "failed": dict(collected.failed), "policies": records}


def _calls(show: Progress, stage: str) -> Callable[[int, int, int, float | None], None]:
    return lambda done, total, failed, left: show(stage, done, total, f"{failed} failed" if failed else "")


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
    command(main)
