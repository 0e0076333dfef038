"""`FewShot`: a predictor that chooses among its demos: never the question's own, only complete ones, and if wanted the nearest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from programs.tasks.base import normalize_answer

_WORD = re.compile(r"\w+")


class FewShot(dspy.Predict):
    """`dspy.Predict` that chooses among its demos at every call.

    Left out are the demos of the very question that is asked (a teacher that labels the questions it was compiled on would
    see its own answer), and those that lack an output. Fields that are empty in what is asked, such as the context of a
    decomposer that sees none, are left out of the demos too. A saved state is one that `dspy.Predict` reads as well.

    Args:
        signature: As in `dspy.Predict`.
        nearest: Show only so many demos, those whose questions are most like the one asked, with the most similar last; None shows all.
        **config: As in `dspy.Predict`.
    """

    def __init__(self, signature: str | type[dspy.Signature], nearest: int | None = None, **config: Any) -> None:
        super().__init__(signature, **config)
        self.nearest = nearest

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        state = super().dump_state(json_mode=json_mode)
        return state if self.nearest is None else {**state, "nearest": self.nearest}

    def forward(self, **kwargs: Any) -> dspy.Prediction:
        return super().forward(**self.with_demos(kwargs))

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        return await super().aforward(**self.with_demos(kwargs))

    def usable_demos(self) -> list[dict[str, Any]]:
        """The demos that have every output, with the signature's fields alone."""
        fields, outputs = self.signature.fields, self.signature.output_fields
        demos = [{name: demo[name] for name in fields if name in demo} for demo in map(dict, self.demos)]
        return [demo for demo in demos if all(demo.get(name) is not None for name in outputs)]

    def with_demos(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a call with the demos chosen for it, under `demos`."""
        question = str(kwargs.get("question", ""))
        asked = normalize_answer(question)
        given = kwargs.pop("demos", None)
        demos = [demo for demo in (self.usable_demos() if given is None else given) if not asked or not _is_of(demo, asked)]
        if self.nearest is not None:
            demos = nearest(question, demos, self.nearest)
        empty = [name for name in self.signature.input_fields if kwargs.get(name) == ""]
        return {**kwargs, "demos": [{**demo, **{name: "" for name in empty if name in demo}} for demo in demos]}


def _is_of(demo: Mapping[str, Any], asked: str) -> bool:
    return normalize_answer(str(demo.get("question", ""))) == asked


def nearest(question: str, demos: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The `count` demos whose questions share most words with `question`, with the most similar last.

    A word counts by how few of the demos have it, as "who" and "the" tell nothing; long questions have no advantage.
    """
    words = [Counter(_words(str(demo.get("question", "")))) for demo in demos]
    spread = Counter(word for bag in words for word in bag)
    asked = Counter(_words(question))
    scores = [_likeness(asked, bag, spread) for bag in words]
    order = sorted(range(len(demos)), key=lambda place: (-scores[place], place))[:count]
    return [demos[place] for place in reversed(order)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _likeness(asked: Counter[str], bag: Counter[str], spread: Counter[str]) -> float:
    """Cosine of the two bags of words, each word weighted by 1 / how many demos have it."""
    shared = sum(asked[word] * bag[word] / spread[word] ** 2 for word in asked if word in bag)
    length = sum((count / spread[word]) ** 2 for word, count in bag.items()) ** 0.5
    return shared / length if length else 0.0
