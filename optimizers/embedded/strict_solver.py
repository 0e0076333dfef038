"""Train the embedded strict solver again: `python -m optimizers.embedded.strict_solver --out FOLDER`.

The embedded teacher walks along the facts of a passage whatever it is asked on the way, so that its success says little
about a decomposition. This solver takes its subquestions at their word: it answers each by itself, `unknown` where the
passage does not tell, and its final answer is the one to the last subquestion. It is the teacher trained further, on
passages with `branches=1` of the split `teacher` and on subquestions of all kinds: right ones, and ones that stop
early, leave a step out, join two steps, lead elsewhere or say nothing. It is the judge of the recipe `success`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dspy

from optimizers.embedded.teacher import parser_of, train_adapter, work
from optimizers.evaluation.statistics import mean_interval
from optimizers.finetune.spec import TrainingSpec
from programs.adapter import TerseLineAdapter
from programs.lms.catalog import lm
from programs.lms.embedded import teacher_artifact
from programs.modules import two_stage
from programs.signatures import Solve
from programs.tasks.base import exact_match
from programs.tasks.multihop import EXTRA_SPLIT, SCHEMAS, Relation
from programs.tasks.registry import load_task

UNKNOWN = "unknown"

ROWS = 2000

DEV_ROWS = 32

SPEC = TrainingSpec(epochs=1, learning_rate=8e-4, batch_size=8, warmup_steps=20, lora_rank=8, lora_alpha=16, max_length=640, save_steps=50)

_CELLS = 100

_REFERENCE = re.compile(r"#(\d)")

Step = tuple[Relation, str]
"""A relation, and whom it is asked of: a name, or "#1"."""


def steps_of(example: dspy.Example) -> list[Step]:
    """The steps of the reference decomposition."""
    starts = [example.chain[0], *(f"#{i}" for i in range(1, example.hops))]
    return [(_asked(example, text, start), start) for text, start in zip(example.subquestions, starts, strict=True)]


def _asked(example: dspy.Example, text: str, start: str) -> Relation:
    return next(relation for relation in SCHEMAS[example.schema] if relation.question.format(start) == text)


def texts(steps: Sequence[Step]) -> list[str]:
    """The subquestions that steps stand for."""
    return [relation.question.format(start) for relation, start in steps]


def without(steps: Sequence[Step], missing: int) -> list[Step]:
    """The steps with one left out; what came after it is asked of the step that now comes before."""
    starts = [start for _, start in steps]
    kept = [relation for i, (relation, _) in enumerate(steps) if i != missing]
    return list(zip(kept, starts, strict=False))


def known(context: str, schema: Sequence[Relation]) -> dict[str, str]:
    """Question -> answer of every single fact in a passage."""
    found = {}
    for sentence in re.split(r"(?<=\.) ", context):
        for relation in schema:
            pattern = re.escape(relation.fact).replace(r"\{s\}", "(?P<s>.+)").replace(r"\{o\}", "(?P<o>.+)")
            if match := re.fullmatch(pattern, sentence):
                found[relation.question.format(match["s"])] = match["o"]
    return found


def answers(subquestions: Sequence[str], facts: dict[str, str]) -> list[str]:
    """The answer to each subquestion that asks for a single fact of the passage, `UNKNOWN` to the others."""
    given: list[str] = []
    for text in subquestions:
        asked = _REFERENCE.sub(lambda match: given[int(match[1]) - 1] if 0 < int(match[1]) <= len(given) else UNKNOWN, text)
        given.append(facts.get(asked, UNKNOWN))
    return given


def _right(example: dspy.Example, rng: random.Random) -> list[str]:
    return list(example.subquestions)


def _early(example: dspy.Example, rng: random.Random) -> list[str]:
    return list(example.subquestions[: rng.randrange(1, example.hops)])


def _missing(example: dspy.Example, rng: random.Random) -> list[str]:
    return texts(without(steps_of(example), rng.randrange(example.hops)))


def _joined(example: dspy.Example, rng: random.Random) -> list[str]:
    steps = steps_of(example)
    first = rng.randrange(example.hops - 1)
    (relation, start), (following, _) = steps[first : first + 2]
    made = texts(without(steps, first))
    return [*made[:first], following.question.format(relation.phrase.format(start)), *made[first + 1 :]]


def _elsewhere(example: dspy.Example, rng: random.Random) -> list[str]:
    """Another relation at one step, mostly one that the passage tells of this entity."""
    steps, at = steps_of(example), rng.randrange(example.hops)
    relation, start = steps[at]
    told = known(example.context, SCHEMAS[example.schema])
    others = [other for other in SCHEMAS[example.schema] if other.subject == relation.subject and other != relation]
    branches = [other for other in others if other.question.format(example.chain[at]) in told]
    steps[at] = rng.choice(branches if branches and rng.random() < 0.7 else others or [relation]), start
    return texts(steps)


def _nothing(example: dspy.Example, rng: random.Random) -> list[str]:
    return rng.sample(["What is given?", "What is asked?", "What do we know?", "What has to be found?"], rng.randint(1, 3))


def _none(example: dspy.Example, rng: random.Random) -> list[str]:
    return []


KINDS: dict[str, Callable[[dspy.Example, random.Random], list[str]]] = {
    "right": _right, "early": _early, "missing": _missing, "joined": _joined, "elsewhere": _elsewhere, "nothing": _nothing, "none": _none
}  # fmt: skip

_WEIGHTS = (8, 2, 4, 4, 3, 1, 1)


def rows(count: int = ROWS + DEV_ROWS, seed: int = 0) -> list[dict[str, Any]]:
    """Chats to learn from; every second one with the last subquestion in the question's place, as `HiddenQuestion` asks."""
    rng, task = random.Random(seed), load_task("multihop", schema="people,books", hops="2,3,4,3,2,3", branches=1, seed=seed)
    return [_row(example, rng.choices(list(KINDS), _WEIGHTS)[0], rng) for example in task.load(EXTRA_SPLIT, count)]


def _row(example: dspy.Example, kind: str, rng: random.Random) -> dict[str, Any]:
    subquestions = KINDS[kind](example, rng)
    given = _told(example, subquestions)
    question = rng.choice([example.question, *subquestions[-1:]])
    inputs = {"context": example.context, "question": question, "subquestions": subquestions}
    return TerseLineAdapter().format_finetune_data(Solve, [], inputs, {"sub_answers": given, "answer": [UNKNOWN, *given][-1]})


def _told(example: dspy.Example, subquestions: Sequence[str]) -> list[str]:
    return answers(subquestions, known(example.context, SCHEMAS[example.schema]))


def train_strict(folder: Path) -> Path:
    """Train in `folder` (the same call continues), and return the folder of the adapter to ship, in bfloat16."""
    made = rows()
    return train_adapter("strict", teacher_artifact(), SPEC, made[:ROWS], made[ROWS:], folder)


def measure(model: str = "embedded/strict", count: int = _CELLS) -> Iterator[dict[str, Any]]:
    """By schema and kind of subquestions: how often the answer is right, and how often it is the one that the subquestions lead to."""
    for schema in SCHEMAS:
        task = load_task("multihop", schema=schema, hops="2,3", branches=1)
        program, examples = two_stage(task, lm(model, max_tokens=128), lm(model, max_tokens=128)), task.load("dev", count)
        for kind in KINDS:
            with ThreadPoolExecutor(32) as pool:
                judged = list(pool.map(lambda example, kind=kind, program=program: _judged(program, kind, example), examples))
            right, followed = (mean_interval(list(column)) for column in zip(*judged, strict=True))
            shown = {name: [round(v, 3) for v in (i.estimate, i.low, i.high)] for name, i in (("right", right), ("followed", followed))}
            yield {"schema": schema, "subquestions": kind, "n": count, **shown}


def _judged(program: dspy.Module, kind: str, example: dspy.Example) -> tuple[float, float]:
    subquestions = KINDS[kind](example, random.Random(example.id))
    asked = program.run_solve(example.question, example.context, subquestions)[0]
    given = "" if asked.get("unparsed") else asked.answer
    led = [UNKNOWN, *_told(example, subquestions)][-1]
    return exact_match(given, [example.answer]).value, exact_match(given, [led]).value


def main() -> None:
    """Command line; see the module."""
    work("strict", parser_of("strict", str(__doc__), _CELLS), train_strict, lambda given: measure(given.evaluate, given.count))


if __name__ == "__main__":
    main()
