"""Sections of what was not run: a heading with nothing under it tells less than one list of them all."""

from __future__ import annotations

from collections.abc import Sequence

from optimizers.reports.blocks import Bullets, Section, Text


def gathered(contents: Sequence[Section]) -> list[Section]:
    """`contents`, the sections that only say what is missing drawn together at the end; the first, which sums up, stays."""
    empty = [section for section in contents[1:] if all(_is_missing(block) for block in section.blocks)]
    told = [section for section in contents if section not in empty]
    if not empty:
        return told
    items = [f"{section.title}: {block.text}" for section in empty for block in section.blocks if isinstance(block, Text)]
    return [*told, Section("What is missing", [Bullets(items)])]


def _is_missing(block: object) -> bool:
    return isinstance(block, Text) and block.tone == "missing"
