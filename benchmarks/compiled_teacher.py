"""What do compiled prompts gain a teacher: as a decomposer, and by the students that learn from it?

    python benchmarks/compiled_teacher.py --seeds 0,1,2 --optimizer LabeledFewShot --out runs/compiled

For each seed the teacher's prompts are compiled, and two runs label the same questions, one with the compiled prompt,
and train a decomposer each. By default the teacher is the untrained embedded model, whose plain prompt gives hardly a row to
train on; the solver that works for all of them is the embedded teacher. Writes `<optimizer>.md`, and keeps everything in
the output folder, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
from typing import Any

from frame import Arguments, command, part_of, publish, say, table, working
from over_seeds import Scores, difference_cells, scores_of

from optimizers import Run, compile_prompts, load_config, run
from optimizers.distilled import TooFewRowsError
from optimizers.experiments.distillation import LabellingStoppedError
from optimizers.jobs.progress import Progress

TEACHER, STUDENT, UNTRAINED = "teacher+solver", "S_D-T+solver", "student0+solver"


def main() -> None:
    """Compile, distil, compare, print tables in markdown."""
    arguments = _arguments()
    with working(arguments.out, "compiled_teacher") as show:
        found = {seed: _both(arguments, seed, show) for seed in arguments.seeds}
    head = ["condition", "questions", "plain", "compiled", "difference, points", "p", "by seed"]
    rows = [[name, *difference_cells(*_sides(found, name))] for name in (TEACHER, STUDENT)]
    publish(arguments.out / f"{arguments.optimizer}.md", f"{arguments.optimizer} on {arguments.teacher}\n\n{table(head, rows)}")


def _arguments() -> argparse.Namespace:
    parser = Arguments(__doc__)
    parser.add_seeds()
    parser.add_argument("--optimizer", default="LabeledFewShot")
    parser.add_argument("--teacher", default="embedded/base")
    parser.add_argument("--solver", default="embedded/teacher")
    parser.add_argument("--train", type=int, default=100, help="questions to label")
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--compile", type=int, default=40, help="questions to compile from, and as many to choose by")
    parser.add_set("compile.settings.k=8")
    parser.add_out()
    return parser.parse_args()


def _both(arguments: argparse.Namespace, seed: int, show: Progress) -> dict[str, Run]:
    given: dict[str, Any] = {
        "seed": seed,
        "teacher.model": arguments.teacher,
        "solver.model": arguments.solver,
        "solver.max_tokens": 128,
        "data.train": arguments.train,
        "data.test": arguments.test,
        "screening.policy": "none",
        **dict(arguments.set),
    }
    sizes = {f"compile.{part}": arguments.compile for part in ("train", "validation")}
    own = {"compile.optimizer": arguments.optimizer, "compile.dev": 0, **sizes}
    folder = arguments.out / f"{arguments.optimizer}-{seed}"
    compile_prompts(load_config("forgiving", {**given, **own, "out": str(folder)}), show)
    sides = {"plain": arguments.out / f"plain-{seed}", "compiled": folder / "run"}
    prompts = {"plain": {}, "compiled": {"teacher.program": str(folder / "program.json")}}
    return {side: _run({**given, **prompts[side], "out": str(out)}, f"{side} {seed}", show) for side, out in sides.items()}


def _run(given: dict[str, Any], name: str, show: Progress) -> Run:
    """A run with its student; where there are too few rows for one, the teacher alone is asked."""
    show = part_of(show, name)
    config = load_config("forgiving", {**given, "evaluation.conditions": f"{TEACHER},{STUDENT}"})
    try:
        return run(config, show)
    except (TooFewRowsError, LabellingStoppedError) as error:
        say(f"{name}: no student, the base in its place. {error}")
    alone = config.evaluation.model_copy(update={"conditions": [TEACHER, UNTRAINED]})
    return run(config.model_copy(update={"evaluation": alone}), show, stages=("evaluate",))


def _sides(found: dict[int, dict[str, Run]], condition: str) -> tuple[dict[int, Scores], dict[int, Scores]]:
    better, plain = ({seed: _scores(sides[side], condition) for seed, sides in found.items()} for side in ("compiled", "plain"))
    return better, plain


def _scores(made: Run, condition: str) -> Scores:
    """Of a run without a student, those of the base that it would have been."""
    for name in (condition, UNTRAINED):
        if lines := made.predictions(name):
            return scores_of(lines)
    raise ValueError(f"{made.folder} has no answers of {condition}.")


if __name__ == "__main__":
    command(main)
