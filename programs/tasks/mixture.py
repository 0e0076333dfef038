"""Several tasks as one: a student that is distilled on all of them, in proportions of your choice."""

from __future__ import annotations

import inspect
import random
from collections.abc import Mapping
from typing import Any, Literal

import dspy

from programs.tasks.base import Origin, Score, Task, score_of
from programs.tasks.registry import load_task, task_class

Parts = str | list[str] | dict[str, str | dict[str, Any]]


class Mixture(Task):
    """Questions of several tasks in turn, by weight: the "universal decomposer" that the paper leaves to future work.

    An example has the id `<part>/<id>` and a field `part`; it is scored by the rule of its part. The first questions of
    a split are the same whatever the limit, and after any number of questions each part's share is right to within one
    question.

    Args:
        parts: Name of a part -> the task's options, with the task's name under `name` (the part's own name, if there is
            none); or names of tasks, also joined by commas. In a configuration a name may be one of
            [experiment.tasks].
        weights: Part -> share of the questions, on any scale: {"people": 2, "books": 1}, or "people=2,books=1"; equal
            shares by default.
        seed: Decides the order in which parts take turns, and that of parts which have a seed and are given none.
        max_subquestions: The limit that the decomposer is told. `parts` takes that of the parts, which must agree.
        decomposer_sees_context: Whether the decomposer is given the passage. None takes what the parts have, which must agree.

    Raises:
        ValueError: No part, a mixture within a mixture, weights of other names or not above 0, or parts that disagree.
    """

    name = "mixture"
    summary = "several tasks at once, by weight: --task.parts multihop,jsonl, or a table of parts in a TOML file"

    def __init__(
        self,
        parts: Parts,
        weights: str | dict[str, float] = "",
        seed: int = 0,
        max_subquestions: int | Literal["parts"] | None = "parts",
        decomposer_sees_context: bool | None = None,
    ) -> None:
        self.seed = seed
        self.parts = {name: _task(name, options, seed) for name, options in parse_parts(parts).items()}
        self.weights = _parse_weights(weights, list(self.parts))
        self.max_subquestions = self._agreed("max_subquestions") if max_subquestions == "parts" else max_subquestions
        sees = decomposer_sees_context
        self.decomposer_sees_context = self._agreed("decomposer_sees_context") if sees is None else sees
        # Class attributes of other tasks; here they follow from the parts.
        vars(self)["measure"] = " or ".join(dict.fromkeys(part.measure for part in self.parts.values()))
        vars(self)["typical_characters"] = max((part.typical_characters or 0 for part in self._to_download()), default=None)
        self.answer_format = " ".join(dict.fromkeys(part.answer_format for part in self.parts.values() if part.answer_format))
        self.scoring = " or ".join(dict.fromkeys(part.scoring for part in self.parts.values()))

    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """The first `limit` questions; if None, as many as the weights allow before a part comes to its end.

        Raises:
            ValueError: Unknown split, or a part that has none or too few questions of it.
        """
        self.check_split(split)
        loaded: dict[str, list[dspy.Example]] = {}
        if limit is None:
            loaded = {name: part.load(split) for name, part in self.parts.items()}
            limit = self._most(split, {name: len(examples) for name, examples in loaded.items()})
        turns = self._turns(split, limit)
        for name in set(turns) - set(loaded):
            loaded[name] = self.parts[name].load(split, turns.count(name))
        queues = {name: iter(examples) for name, examples in loaded.items()}
        return [_of_part(name, next(queues[name])) for name in turns]

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """By the rule of the example's part."""
        return score_of(self.parts[example.part], example, prediction)

    def origin_of(self, example_id: str) -> Origin:
        """As its part says."""
        part, _, own = example_id.partition("/")
        return self.parts[part].origin_of(own) if part in self.parts else Origin()

    def _to_download(self) -> list[Task]:
        return [part for part in self.parts.values() if part.typical_characters is not None and part.path is None]

    def _agreed(self, setting: str) -> Any:
        values = {name: getattr(part, setting) for name, part in self.parts.items()}
        if len(set(values.values())) > 1:
            raise ValueError(f"The parts of task 'mixture' have different {setting}: {values}. Set {setting} of the mixture.")
        return next(iter(values.values()))

    def _turns(self, split: str, limit: int) -> list[str]:
        """Whose turn it is at each place: part p has its j-th at (j + a shift drawn by the seed) / weight."""
        rng = random.Random(f"mixture/{self.seed}/{split}")
        shifts = {name: rng.random() for name in self.parts}
        total = sum(self.weights.values())
        moments = [
            ((number + shifts[name]) / weight, name)
            for name, weight in self.weights.items()
            for number in range(int(limit * weight / total) + 2)
        ]
        return [name for _, name in sorted(moments)[:limit]]

    def _most(self, split: str, sizes: Mapping[str, int]) -> int:
        """The number of places before the first turn of a part that has no question left."""
        left = dict(sizes)
        for place, name in enumerate(self._turns(split, sum(sizes.values()))):
            if left[name] == 0:
                return place
            left[name] -= 1
        return sum(sizes.values())


def parse_parts(parts: Parts) -> dict[str, dict[str, Any]]:
    """Parts by name, each with its options and the name of its task under `name`.

    Raises:
        ValueError: No part at all, or something else than names and tables.
    """
    names = [part.strip() for part in parts.split(",") if part.strip()] if isinstance(parts, str) else parts
    given: Any = {name: name for name in names} if isinstance(names, list) else names
    if not given or not isinstance(given, dict) or not all(isinstance(part, str | dict) for part in given.values()):
        raise ValueError("Task 'mixture' needs parts: names of tasks, such as 'multihop,jsonl', or a table of their options.")
    return {name: {"name": part} if isinstance(part, str) else {"name": name, **part} for name, part in given.items()}


def _task(part: str, options: Mapping[str, Any], seed: int) -> Task:
    name, rest = options["name"], {key: value for key, value in options.items() if key != "name"}
    if name == Mixture.name or "/" in part:
        raise ValueError(f"Part {part!r} of task 'mixture' is named by a '/' or a mixture itself; list the parts of both in one.")
    seeded = "seed" in inspect.signature(task_class(name)).parameters
    try:
        return load_task(name, **({"seed": seed, **rest} if seeded else rest))
    except ValueError as error:
        raise ValueError(f"Part {part!r} of task 'mixture': {error}") from error


def _of_part(part: str, example: dspy.Example) -> dspy.Example:
    return example.copy(id=f"{part}/{example.id}", part=part).with_inputs(*example.inputs().keys())


def _parse_weights(weights: str | Mapping[str, float], parts: list[str]) -> dict[str, float]:
    if isinstance(weights, str):
        pairs = [pair.partition("=") for pair in weights.split(",") if pair.strip()]
        try:
            weights = {name.strip(): float(weight) for name, _, weight in pairs}
        except ValueError:
            raise ValueError(f"weights={weights!r} of task 'mixture' must be such as 'people=2,books=1'.") from None
    weights = weights or dict.fromkeys(parts, 1.0)
    if set(weights) != set(parts) or not all(0 < weight < float("inf") for weight in weights.values()):
        raise ValueError(f"weights={dict(weights)} of task 'mixture' must be numbers above 0, one for each of {parts}.")
    return {name: float(weights[name]) for name in parts}
