"""The report of a compilation: `compiled.md` and `compiled.html`, from `compiled.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizers.jobs.jsonlines import read_json
from optimizers.reports.blocks import (
    Block,
    Bullets,
    Code,
    Section,
    Table,
    Text,
    count_text,
    is_number,
    percent,
    percent_interval,
    usd_text,
)
from optimizers.reports.cost_tables import scorer_text
from optimizers.reports.tokens import input_text, kind_of
from optimizers.reports.verdicts import difference_words
from optimizers.reports.write import write_sections

_COLUMNS = ("candidate", "prompts", "questions", "score", "95 % interval", "failed", "tokens a question", "dollars a 1000 questions")


def write_report(folder: Path) -> list[Path]:
    """Write `compiled.md` and `compiled.html` from `compiled.json`; returns both."""
    found = read_json(folder / "compiled.json")
    return write_sections(folder, sections(found), title=title(found), stem="compiled")


def title(found: Mapping[str, Any]) -> str:
    """Which of DSPy's optimizers compiled."""
    return str(found["optimizer"])


def sections(found: Mapping[str, Any]) -> list[Section]:
    """The report of a compilation, in reading order.

    Args:
        found: `compiled.json`.
    """
    return [in_short(found), candidates(found), *_failures(found), _best_prompts(found)]


def in_short(found: Mapping[str, Any]) -> Section:
    """Whether it came to an end, what the best program is worth, and what was paid."""
    blocks: list[Block] = [Text(f"Incomplete: {found['incomplete']}.", "warning")] if found["incomplete"] else []
    lines = [*_dev_lines(found), *_writers_line(found), _paid_line(found["paid"], found.get("teacher"))]
    return Section("In short", [*blocks, Bullets(lines), *scorer_text(found.get("scorer") or {})])


def candidates(found: Mapping[str, Any]) -> Section:
    """A line a candidate; scores are on the validation questions unless they say train."""
    base = _by_key(found, found["uncompiled"])
    rows = [_row(one, base, found) for one in found["candidates"] if not one.get("only_wrote_demos")]
    return Section("Candidates", [Table(_COLUMNS, rows, frozenset({0, 1, 2}))])


def _by_key(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return next(one for one in found["candidates"] if one["key"] == key)


def _dev_lines(found: Mapping[str, Any]) -> list[str]:
    base, best, compared = found["dev"]["uncompiled"], found["dev"]["compiled"], found["dev"]["comparison"]
    lines = []
    if found["best"] == found["uncompiled"]:
        lines.append(
            "No candidate that was scored on every validation question scores higher than the uncompiled program, which is what was saved."
        )
        lines += [f"On {base['n']} dev questions it has {_score(base)}."] if base["n"] else []
    if compared:
        lines.append(
            f"On {compared['n']} dev questions that nothing was chosen by: {_score(best)} compiled, {_score(base)} uncompiled; paired "
            f"difference {difference_words(compared)}."
        )
    return lines


def _score(split: Mapping[str, Any]) -> str:
    return f"{percent(split['score'])} ({percent_interval(split)})"


def _writers_line(found: Mapping[str, Any]) -> list[str]:
    writers = sum(bool(one.get("only_wrote_demos")) for one in found["candidates"])
    text = f"{writers} further sets of prompts only wrote demos from training questions; compiled.json has them too."
    return [text] if writers else []


def _paid_line(paid: Mapping[str, Any], teacher: Any) -> str:
    usd = f"{usd_text(paid['usd'])}" if is_number(paid["usd"]) else "without a known price"
    counts = [count_text(paid["calls"]), input_text(paid), count_text(paid["output_tokens"])]
    whose = f" of {teacher} ({kind_of(teacher)})" if teacher else ""
    return f"Used in all: {counts[0]} calls, {counts[1]} input and {counts[2]} output tokens{whose}, {usd}."


def _row(candidate: Mapping[str, Any], base: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    marks = [f"({mark})" for mark in ("best", "found") if found[mark] == candidate["key"]]
    split = "validation" if candidate["validation"]["n"] else "train"
    scored = candidate[split]
    count = f"{count_text(scored['n'])}{' train' if split == 'train' else ''}"
    score = ("-", "-") if scored["score"] is None else (percent(scored["score"]), percent_interval(scored))
    number = " ".join([str(candidate["number"]), *marks])
    return [number, _described(candidate, base), count, *score, count_text(len(candidate["failures"])), *_cost(candidate)]


def _cost(candidate: Mapping[str, Any]) -> list[str]:
    """Tokens of a question and dollars of a thousand; how many were answered is not known of a compilation by an earlier version."""
    usage, answered = candidate["usage"], candidate.get("answered")
    each = None if answered is None else max(answered, 1)
    tokens = None if each is None else (usage["input_tokens"] + usage["output_tokens"]) / each
    if each is None or not is_number(usage["usd"]):
        return [count_text(tokens), "no price" if usage["usd"] is None else "n/a"]
    return [count_text(tokens), f"${1000 * usage['usd'] / each:.3f}"]


def _described(candidate: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    if candidate["key"] == base["key"]:
        return "uncompiled"
    return "; ".join(f"{stage}: {_changes(state, base['prompts'][stage])}" for stage, state in candidate["prompts"].items())


def _changes(state: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    said = ["new instructions"] if _instructions(state) != _instructions(before) else []
    if state["demos"]:
        nearest = f", nearest {state['nearest']} shown" if "nearest" in state else ""
        said.append(f"{len(state['demos'])} demos{nearest}")
    return ", ".join(said) or "as it was"


def _instructions(state: Mapping[str, Any]) -> str:
    return str(state["signature"]["instructions"])


def _failures(found: Mapping[str, Any]) -> list[Section]:
    rows = [[str(one["number"]), question, why] for one in found["candidates"] for question, why in one["failures"].items()]
    table = Table(["candidate", "question", "what failed"], rows, frozenset({0, 1, 2}))
    return [Section("Failed questions", [table])] if rows else []


def _best_prompts(found: Mapping[str, Any]) -> Section:
    best = _by_key(found, found["best"])["prompts"]
    return Section(
        "Best prompts", [Code(f"{stage}, {len(state['demos'])} demos", _instructions(state), "text") for stage, state in best.items()]
    )
