"""How fast are we, each in one run with a peer or a limit?

    python benchmarks/bench.py                        # all of it, in half an hour: `make bench`
    python benchmarks/bench.py --only labelling,nodes # those scripts again; the other rows stay

Runs the scripts of this folder that measure speed, several times, and writes `benchmarks/results.json`, a figure beside it, and README's
table. A ratio is taken within a run, and the median over the runs stands with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frame import Arguments, command, origin, say, table

from optimizers.jobs.jsonlines import read_json, write_json, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
RESULTS, FIGURE, README = HERE / "results.json", HERE / "results.png", HERE.parent / "README.md"
TABLE = re.compile(r"(?<=<!-- bench -->\n).*?(?=<!-- /bench -->)", re.DOTALL)
FINISHED_RUN = HERE.parent / "runs" / "embedded"


@dataclass(frozen=True)
class Script:
    """What is run, and how often."""

    words: Sequence[str]
    repetitions: int


@dataclass(frozen=True)
class Question:
    """One row: two figures of a script, and what their ratio should be.

    Attributes:
        name: What is measured.
        script: Name of one of `SCRIPTS`.
        ours: Names that lead to our figure in what the script writes.
        peer: Names that lead to the peer's.
        peer_name: Who that is.
        unit: Of both.
        target: Of the ratio ours / peer.
        at_most: Whether the ratio should be that at most, where it should otherwise be that at least.
    """

    name: str
    script: str
    ours: tuple[str, ...]
    peer: tuple[str, ...]
    peer_name: str
    unit: str
    target: float
    at_most: bool = False


SCRIPTS = {
    "inference": Script(["inference.py", "--model", "embedded/base", "--n", "32", "--alone"], 2),
    "student": Script(["inference.py", "--model", "gguf/qwen2.5-coder-0.5b", "--weights", "--peers", "batches", "--n", "32"], 2),
    "training": Script(["training.py", "--steps", "3"], 2),
    "labelling": Script(["labelling.py", "--threads", "32,128", "--seconds", "6"], 3),
    "scale": Script(["labelling.py", "--scale", "8000"], 1),
    "reading": Script(["scale.py", "--sizes", "1000,10000,100000", "--phases", "scores,report,view"], 1),
    "overhead": Script(["overhead.py", *(["--run", "runs/embedded"] if (FINISHED_RUN / "metrics.json").exists() else [])], 1),
    "nodes": Script(["nodes.py"], 2),
}

THREADS, ALONE = ("ways", "openvino engine, threads"), ("ways", "openvino engine, alone")
OURS = ("ways", "ours")
MANY, FEW = ("8000", "collect"), ("800", "collect")
MOST, MORE, REPORT, VIEW = ("100000", "scores"), ("10000", "scores"), ("100000", "report"), ("100000", "view")
ONE, THOUSAND, PEAK = "one of 10,000", "that for 3 × 1,000", "peak_mib"
RATE, CALLS, TOKENS, OPERATIONS = "per_second", "calls_per_second", "tokens_per_second", "operations_per_second"
QWEN = "decompositions of a Qwen2.5-0.5B student, 16 DSPy threads"
STUDENT = "decompositions of a 135M student, 16 DSPy threads"
TRAINING = "LoRA training of a 135M student"
LABELLING = "labelling by an API that answers after 200 ms"

QUESTIONS = (
    Question(STUDENT, "inference", (*THREADS, RATE), ("ways", "one", RATE), "transformers, one by one", "prompts/s", 30),
    Question(STUDENT, "inference", (*THREADS, RATE), ("ways", "batches", RATE), "transformers, batches of 32", "prompts/s", 2),
    Question(STUDENT, "inference", (*THREADS, RATE), ("ways", "openvino", RATE), "openvino-genai alone, 16 in flight", "prompts/s", 0.95),
    Question(QWEN, "student", (*THREADS, RATE), ("ways", "batches", RATE), "transformers, batches of 32", "prompts/s", 2),
    Question("a 135M student, one question alone", "inference", (*ALONE, "each"), ("ways", "one", "each"), "transformers", "s", 0.33, True),
    Question(TRAINING, "training", (*OURS, TOKENS), ("ways", "trl", TOKENS), "TRL, its defaults", "tokens/s", 5),
    Question(TRAINING, "training", (*OURS, TOKENS), ("ways", "trl, best flags", TOKENS), "TRL, its best flags", "tokens/s", 1.5),
    Question(TRAINING, "training", (*OURS, OPERATIONS), (*OURS, f"peak_{OPERATIONS}"), "a large matrix product", "FLOP/s", 0.75),
    Question(f"{LABELLING}, 32 threads", "labelling", ("32", CALLS), ("32", "ideal"), "the API's own time", "calls/s", 0.97),
    Question(f"{LABELLING}, 128 threads", "labelling", ("128", CALLS), ("128", "ideal"), "the API's own time", "calls/s", 0.9),
    Question("run @ embedded, all stages", "overhead", ("wall",), ("computing",), "its models' computing alone", "s", 1.15, True),
    Question("time a trace, of 8,000", "scale", (*MANY, "us_each"), (*FEW, "us_each"), "one of 800", "µs", 1.2, True),
    Question("memory for 8,000 traces", "scale", (*MANY, "peak_mib"), (*FEW, "peak_mib"), "that for 800", "MiB", 1.2, True),
    Question("processor time an answer summed up, of 100,000", "reading", (*MOST, "us_each"), (*MORE, "us_each"), ONE, "µs", 1.2, True),
    Question("memory for summing up 3 × 100,000 answers", "reading", (*MOST, PEAK), ("1000", "scores", PEAK), THOUSAND, "MiB", 1.2, True),
    Question(
        "memory for the report of 3 × 100,000 answers", "reading", (*REPORT, PEAK), ("1000", "report", PEAK), THOUSAND, "MiB", 1.2, True
    ),
    Question("memory for the viewer of 3 × 100,000 answers", "reading", (*VIEW, PEAK), ("1000", "view", PEAK), THOUSAND, "MiB", 1.2, True),
    Question("two Ray nodes, calls that wait", "nodes", ("2", CALLS), ("1", CALLS), "one node", "calls/s", 1.8),
)


def main() -> None:
    options = _options()
    rows = {_key(row): row for row in (results() if RESULTS.exists() else [])}
    for name in options.only:
        runs = measured(name, SCRIPTS[name])
        whole = origin(HERE)
        rows |= {_key(row): row for row in (result(question, runs, whole) for question in _asking(name))}
        write_json(RESULTS, [rows[key] for key in map(_key_of, QUESTIONS) if key in rows])
    found = results()
    publish_in_readme(found)
    print(speed_table(found))
    from optimizers.reports.figures import png

    FIGURE.write_bytes(png(speed_figure(found)))


def results() -> list[dict[str, Any]]:
    """The rows on file."""
    return list(json.loads(RESULTS.read_text()))


def _options() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_argument("--only", type=_scripts, default=list(SCRIPTS), help=f"joined by commas: {', '.join(SCRIPTS)} (default all)")
    return parser.parse_args()


def _scripts(text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - set(SCRIPTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; expected some of {', '.join(SCRIPTS)}")
    return names


def _asking(script: str) -> list[Question]:
    return [question for question in QUESTIONS if question.script == script]


def _key_of(question: Question) -> tuple[str, str, str]:
    return question.script, question.name, question.peer_name


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["script"], row["name"], row["peer_name"]


def measured(name: str, script: Script) -> list[dict[str, Any]]:
    """What a script writes, of each run."""
    found = []
    for number in range(script.repetitions):
        say(f"{name}, {number + 1} of {script.repetitions}: python benchmarks/{' '.join(script.words)}")
        with tempfile.TemporaryDirectory() as folder:
            figures = Path(folder) / "figures.json"
            words = [sys.executable, str(HERE / script.words[0]), *script.words[1:], "--json", str(figures)]
            log = Path(folder) / "log.txt"
            with log.open("w") as file:
                ended = subprocess.run(words, stdout=file, stderr=file, cwd=HERE.parent, env={**os.environ, "PYTHONWARNINGS": "ignore"})
            if ended.returncode:
                raise RuntimeError(f"{name} ended with {ended.returncode}; the other rows stand:\n{log.read_text()[-2000:]}")
            found.append(read_json(figures))
    return found


def result(question: Question, runs: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `results.json`.

    Args:
        question: What is measured.
        runs: What its script wrote.
        whole: Where that comes from; see `frame.origin`.
    """
    from optimizers.reports.blocks import machine_text

    pairs = [(_figure(run, question.ours), _figure(run, question.peer)) for run in runs]
    ratios = [ours / peer for ours, peer in pairs]
    ratio = statistics.median(ratios)
    return {
        "name": question.name,
        "ours": _rounded(statistics.median(ours for ours, _ in pairs)),
        "peer": _rounded(statistics.median(peer for _, peer in pairs)),
        "peer_name": question.peer_name,
        "unit": question.unit,
        "ratio": _rounded(ratio),
        "target": question.target,
        "at_most": question.at_most,
        "met": ratio <= question.target if question.at_most else ratio >= question.target,
        "repetitions": len(runs),
        "spread": [_rounded(min(ratios)), _rounded(max(ratios))],
        "script": question.script,
        "command": f"python benchmarks/{' '.join(SCRIPTS[question.script].words)}",
        "machine": machine_text(whole["machine"]),
        **{name: whole[name] for name in ("commit", "versions", "date")},
    }


def _figure(found: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = found
    for name in path:
        value = value[name]
    return float(value)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """README's table, and where it comes from."""
    head = ["what", "ours", "against", "ratio (of runs)", "target"]
    lines = [
        [
            row["name"],
            f"{number(row['ours'])} {row['unit']}",
            f"{row['peer_name']}: {number(row['peer'])}",
            f"{row['ratio']:g} ({row['spread'][0]:g} to {row['spread'][1]:g}, {row['repetitions']})",
            f"{'at most' if row['at_most'] else 'at least'} {row['target']:g}: {'met' if row['met'] else '**missed**'}",
        ]
        for row in rows
    ]
    return f"{table(head, lines)}\n\n{_from_where(rows)}\n"


def number(value: float) -> str:
    """Three digits, in billions where it has so many."""
    return f"{value / 1e9:.3g} G" if value >= 1e8 else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _from_where(rows: Sequence[Mapping[str, Any]]) -> str:
    dates, machines = sorted({row["date"] for row in rows}), sorted({row["machine"] for row in rows})
    versions = ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items())
    return f"`make bench`; {'; '.join(machines)}; {versions}; {' and '.join(dates)}."


def publish_in_readme(rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the table in its place."""
    text = README.read_text()
    if not TABLE.search(text):
        raise ValueError(f"{README} has no place for the table: <!-- bench --> and <!-- /bench --> on lines of their own.")
    write_whole(README, [TABLE.sub(lambda _: speed_table(rows), text)])


def speed_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """How far each ratio is from its target, with the range of the runs."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from optimizers.reports.figures import ACCENT, COLOURS, FAINT, canvas, rows_axis

    figure, axes = canvas(0.46 * len(rows) + 1.0)
    axes.axvline(1, color=FAINT, linewidth=2)
    for y, row in enumerate(rows):
        # As a share of the target, so that more is better in each row.
        value, *ends = (row["target"] / x if row["at_most"] else x / row["target"] for x in (row["ratio"], *row["spread"]))
        colour = COLOURS[0] if row["met"] else ACCENT
        axes.plot(ends, [y, y], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(value, y, "o" if row["met"] else "D", color=colour, markersize=8)
    names = [[row["name"], f"against {row['peer_name']}"] for row in rows]
    rows_axis(axes, [" ".join(name) for name in names])
    axes.set_yticks(range(len(rows)), ["\n".join(part for line in name for part in textwrap.wrap(line, 44)) for name in names], fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the target;\nmet from 1 on")
    return figure


if __name__ == "__main__":
    command(main)
