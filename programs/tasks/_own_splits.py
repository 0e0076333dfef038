"""How a file without splits is divided: what students are trained on must not be what they are tested on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import dspy

from programs.tasks._published import deal, grouped
from programs.tasks.base import canonical, identity

_log = logging.getLogger("divide_or_conquer")

_LARGEST, _SMALL = 0.25, 3
"""The share of all questions that a group may have, as shares of the splits are of groups; groups of a few are no harm in any file."""


def split_up(examples: Sequence[dspy.Example], fractions: Mapping[str, float], seed: str) -> dict[str, list[dspy.Example]]:
    """The examples by split, shuffled by `seed`.

    Questions on the same passage stay together, and so do those in the same words. Where that would put more than a quarter of all into
    one group (a file on a few passages), passages are divided, which is told; where all ask the same of other passages, each is a
    group of its own.

    Args:
        examples: Of a whole file.
        fractions: Shares of train, dev and test.
        seed: Another one divides differently.
    """
    by_passage = grouped(examples, ties=(identity, _passage))
    if _is_fine(by_passage):
        return deal(by_passage, fractions, seed)
    by_question = grouped(examples)
    if not _is_fine(by_question):
        return deal(grouped(examples, lambda example: " ".join(identity(example))), fractions, seed)
    _log.warning("Too few passages to divide the file by them: questions on the same passage stand in several splits.")
    return deal(by_question, fractions, seed)


def _passage(example: dspy.Example) -> str | None:
    return canonical(example.get("context") or "") or None


def _is_fine(groups: Mapping[str, list[dspy.Example]]) -> bool:
    sizes = [len(group) for group in groups.values()]
    return max(sizes, default=0) <= max(_SMALL, _LARGEST * sum(sizes))
