"""Do the two backends answer alike? Share of equal texts on the same questions, and the paired difference in score.

    python benchmarks/backends.py --count 200 --out runs/backends

For each schema, `--count` decompositions and as many solutions with the reference subquestions by embedded/teacher, on
test questions of 2 and 3 hops. Prints a line of JSON a schema and stage. Answers are kept in the output folder, a file a
backend and schema, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy
from frame import Arguments, command, working

from optimizers.evaluation.statistics import mean_interval, paired_comparison
from optimizers.jobs.jsonlines import append_line, as_json, read_lines
from optimizers.jobs.progress import Progress
from programs.lms import lm
from programs.lms.engine import unload_all
from programs.modules import two_stage
from programs.tasks import exact_match, load_task
from programs.tasks.multihop import SCHEMAS

BACKENDS = ("openvino", "transformers")


def main() -> None:
    """Ask, compare, print a line of JSON a schema and stage."""
    parser = Arguments(__doc__)
    parser.add_argument("--count", type=int, default=200, help="questions a schema")
    parser.add_argument("--model", default="embedded/teacher")
    parser.add_out()
    arguments = parser.parse_args()
    with working(arguments.out, "backends") as show:
        for backend in BACKENDS:
            for schema in SCHEMAS:
                answer_all(backend, schema, arguments, show)
            unload_all()
    for schema in SCHEMAS:
        for stage in ("decompose", "solve"):
            print(as_json(compare(arguments.out, schema, stage)), flush=True)


def answer_all(backend: str, schema: str, arguments: argparse.Namespace, show: Progress) -> None:
    """Ask one backend what it has not answered yet, a line a question."""
    task = load_task("multihop", schema=schema, hops="2,3")
    model = lm(arguments.model, max_tokens=128, backend=backend)
    program = two_stage(task, model, model)
    path = arguments.out / f"{backend}-{schema}.jsonl"
    done = {line["id"] for line in read_lines(path, repair=True)}
    missing = [example for example in task.load("test", arguments.count) if example.id not in done]
    with path.open("a") as file, ThreadPoolExecutor(32) as pool:
        for number, line in enumerate(pool.map(lambda example: ask(program, example), missing), len(done) + 1):
            append_line(file, line)
            show(f"{backend}, {schema}", number, arguments.count, "")


def ask(program: Any, example: dspy.Example) -> dict[str, Any]:
    """Both stages of one question, each on the reference input."""
    decomposition = program.run_decompose(example.question)[0]
    solved = program.run_solve(example.question, example.context, example.subquestions)[0]
    return {
        "id": example.id,
        "decompose": {"text": "\n".join(decomposition.lines), "score": float(decomposition.subquestions == example.subquestions)},
        "solve": {"text": "\n".join([*solved.sub_answers, solved.answer]), "score": exact_match(solved.answer, [example.answer]).value},
    }


def compare(folder: Path, schema: str, stage: str) -> dict[str, Any]:
    """Equal texts, scores with intervals, and the paired difference (openvino less transformers)."""
    sides = {backend: {line["id"]: line[stage] for line in read_lines(folder / f"{backend}-{schema}.jsonl")} for backend in BACKENDS}
    first, second = sides.values()
    equal = mean_interval([float(first[key]["text"] == second[key]["text"]) for key in first])
    scores = {backend: {key: value["score"] for key, value in side.items()} for backend, side in sides.items()}
    difference = paired_comparison(scores[BACKENDS[0]], scores[BACKENDS[1]])
    return {
        "schema": schema,
        "stage": stage,
        "n": difference.n,
        "equal_texts": [equal.estimate, equal.low, equal.high],
        **{backend: mean_interval(list(found.values())).estimate for backend, found in scores.items()},
        "difference": [difference.delta, difference.low, difference.high],
        "p": difference.p,
    }


if __name__ == "__main__":
    command(main)
