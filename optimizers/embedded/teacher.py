"""Train the embedded teacher again: `python -m optimizers.embedded.teacher --out FOLDER`.

A LoRA adapter on SmolLM2-135M-Instruct, trained on generated `multihop` questions of both schemas: it decomposes,
solves with subquestions, and answers in one stage, directly and by chain of thought. `--evaluate` alone measures the
adapter that is shipped, by schema and number of hops.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy

from optimizers.evaluation.statistics import mean_interval
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import train
from optimizers.jobs.display import ProgressDisplay
from optimizers.jobs.jsonlines import as_json
from programs.adapter import TerseLineAdapter
from programs.lms.artifacts import Artifact
from programs.lms.catalog import lm
from programs.lms.embedded import BASE_MODEL, MAX_SUBQUESTIONS, adapter_folder, base_artifact
from programs.modules import SingleStage, two_stage
from programs.signatures import NO_DECOMPOSITION, Answer, Decompose, Solve
from programs.tasks.base import Task, exact_match
from programs.tasks.multihop import EXTRA_SPLIT, SCHEMAS
from programs.tasks.registry import load_task

ROWS = 3200

DEV_ROWS = 160

SPEC = TrainingSpec(
    epochs=1, learning_rate=8e-4, batch_size=8, warmup_steps=20, lora_rank=16, lora_alpha=32, max_length=512, save_steps=100
)

_KINDS = ("decompose", "solve", "solve", "answer", "solve", "decompose", "reason", "solve")

_HOPS = "2,3,1,2,3,4,2,3"


_CELLS = 200

COLUMNS = ("decompose", "solve", "two_stage", "single_stage", "single_stage_cot")


def rows(count: int = ROWS, dev: int = DEV_ROWS, seed: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training and dev rows from the split `teacher`, which shares no entity chain with any other split."""
    task = load_task("multihop", schema="people,books", hops=_HOPS, seed=seed)
    rng = random.Random(seed)
    made = [row(rng.choice(_KINDS), example) for example in task.load(EXTRA_SPLIT, count + dev)]
    return made[:count], made[count:]


def row(kind: str, example: dspy.Example) -> dict[str, Any]:
    """One chat of a kind: `decompose`, `solve`, `answer` or `reason`."""
    given = {"context": example.context, "question": example.question}
    if kind == "decompose":
        inputs = {"context": "", "question": example.question, "max_subquestions": MAX_SUBQUESTIONS}
        signature, outputs = Decompose, {"subquestions": example.subquestions or [NO_DECOMPOSITION]}
    elif kind == "solve":
        inputs = {**given, "subquestions": example.subquestions}
        signature, outputs = Solve, {"sub_answers": example.sub_answers, "answer": example.answer}
    elif kind == "answer":
        signature, inputs, outputs = Answer, given, {"answer": example.answer}
    else:
        signature, inputs = dspy.ChainOfThought(Answer).predict.signature, given
        outputs = {"reasoning": example.reasoning, "answer": example.answer}
    return TerseLineAdapter().format_finetune_data(signature, [], inputs, outputs)


def train_teacher(folder: Path) -> Path:
    """Train in `folder` (the same call continues), and return the folder of the adapter to ship, in bfloat16."""
    made, dev = rows()
    return train_adapter("teacher", base_artifact(), SPEC, made, dev, folder)


def train_adapter(
    name: str, start: Artifact, spec: TrainingSpec, made: Sequence[dict[str, Any]], dev: Sequence[dict[str, Any]], folder: Path
) -> Path:
    """Train an embedded model of `name` from `start` on chats, and return the folder of its adapter."""
    with ProgressDisplay() as display:
        artifact = train(
            made,
            spec.model_copy(update={"base": str(start.folder)}),
            folder / name,
            name=name,
            adapter="line-terse",
            base=start.model_string,
            dev_rows=dev,
            progress=lambda step, steps, loss: display(f"train {name}", step, steps, "" if loss is None else f"loss {loss:.3f}"),
        )
    return halve_adapter(artifact.folder / "adapter", folder / "adapter", start)


def halve_adapter(source: Path, target: Path, start: Artifact) -> Path:
    """Copy an adapter with its weights in bfloat16: half the size, and what the merged model is kept in anyway."""
    import torch
    from safetensors.torch import load_file, save_file

    target.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "adapter_model.safetensors")
    save_file({name: weight.to(torch.bfloat16) for name, weight in weights.items()}, target / "adapter_model.safetensors")
    config = json.loads((source / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = BASE_MODEL if start.manifest["name"] == "base" else f"embedded/{start.manifest['name']}"
    (target / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    return target


def measure(
    model: str = "embedded/teacher", count: int = _CELLS, hops: Sequence[int] = (1, 2, 3, 4), columns: Sequence[str] = COLUMNS
) -> Iterator[dict[str, Any]]:
    """Accuracy by schema and hops.

    Args:
        model: Model string.
        count: Test questions for each schema and number of hops.
        hops: Lengths of chains to measure.
        columns: Names in `COLUMNS`: `decompose` (the reference subquestions, word for word), `solve` (right answer with
            the reference subquestions), `two_stage`, `single_stage`, `single_stage_cot`.

    Yields:
        A dict for each schema and number of hops: schema, hops, n, and for each column [estimate, low, high] with a 95 % interval.
    """
    for schema in SCHEMAS:
        for length in hops:
            task = load_task("multihop", schema=schema, hops=[length])
            judges = _judges(task, lm(model, max_tokens=128))
            cell: dict[str, Any] = {"schema": schema, "hops": length, "n": count}
            for name in columns:
                with ThreadPoolExecutor(32) as pool:
                    interval = mean_interval(list(pool.map(judges[name], task.load("test", count))))
                cell[name] = [interval.estimate, interval.low, interval.high]
            yield cell


def _judges(task: Task, model: dspy.LM) -> dict[str, Callable[[dspy.Example], float]]:
    program = two_stage(task, model, model)
    direct, reasoned = SingleStage(), SingleStage(chain_of_thought=True)
    direct.set_lm(model)
    reasoned.set_lm(model)

    def decompose(example: dspy.Example) -> float:
        return float(program.run_decompose(example.question)[0].subquestions == example.subquestions)

    def solve(example: dspy.Example) -> float:
        return _right(lambda: program.run_solve(example.question, example.context, example.subquestions)[0], example)

    def answer(asked: dspy.Module) -> Callable[[dspy.Example], float]:
        return lambda example: _right(lambda: asked(question=example.question, context=example.context), example)

    return {
        "decompose": decompose,
        "solve": solve,
        "two_stage": answer(program),
        "single_stage": answer(direct),
        "single_stage_cot": answer(reasoned),
    }


def _right(ask: Callable[[], dspy.Prediction], example: dspy.Example) -> float:
    prediction = ask()
    return 0.0 if prediction.get("unparsed") else exact_match(prediction.answer, [example.answer]).value


def main() -> None:
    """Command line; see the module."""
    parser = parser_of("teacher", str(__doc__), _CELLS)
    parser.add_argument("--hops", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS)
    work("teacher", parser, train_teacher, lambda given: measure(given.evaluate, given.count, given.hops, given.columns))


def parser_of(name: str, description: str, cells: int) -> argparse.ArgumentParser:
    """The arguments that the training of every embedded model takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to train in; the adapter to ship ends up in its adapter/")
    parser.add_argument("--install", action="store_true", help="put the trained adapter in the place of the shipped one")
    parser.add_argument(
        "--evaluate", metavar="MODEL", nargs="?", const=f"embedded/{name}", help="measure a model, by default the shipped one"
    )
    parser.add_argument("--count", type=int, default=cells, help="questions a cell")
    return parser


def work(
    name: str,
    parser: argparse.ArgumentParser,
    train_it: Callable[[Path], Path],
    cells: Callable[[argparse.Namespace], Iterator[dict[str, Any]]],
) -> None:
    """Train, install and measure, as the command line says; a line of JSON a cell."""
    arguments = parser.parse_args()
    if not arguments.out and not arguments.evaluate:
        parser.error("give --out FOLDER to train, or --evaluate to measure")
    if arguments.out:
        adapter = train_it(arguments.out)
        print(f"Adapter in {adapter}")
        if arguments.install:
            shutil.copytree(adapter, adapter_folder(name), dirs_exist_ok=True)
    if arguments.evaluate:
        for cell in cells(arguments):
            print(as_json(cell), flush=True)


if __name__ == "__main__":
    main()
