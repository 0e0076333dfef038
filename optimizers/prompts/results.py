"""What a compilation leaves in its folder: the program, and the table of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from optimizers.jobs.jsonlines import write_json, write_whole
from optimizers.prompts.candidates import DEV, TRAIN, VALIDATION, Candidate, Compiled
from optimizers.prompts.dspy_optimizers import optimizer_by_name
from optimizers.settings.run import RunConfig
from programs.compiled.state import program_state

COLUMNS = ("candidate", "prompts", "questions", "score", "95 % interval", "failed", "tokens a question", "dollars a 1000 questions")


def write_results(compiled: Compiled, config: RunConfig, settings: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Write `program.json`, `compiled.json` and `compiled.md`."""
    about = {
        "optimizer": compiled.optimizer,
        "settings": dict(settings),
        "stages": list(stages),
        "seed": config.seed,
        "task": config.task.name,
        "teacher": compiled.program.decompose.lm.model,
        "incomplete": compiled.incomplete,
    }
    write_json(compiled.folder / "program.json", program_state(compiled.program, about))
    write_json(compiled.folder / "compiled.json", {"schema": 1, **about, **_figures(compiled)})
    write_whole(compiled.folder / "compiled.md", markdown(compiled))


def _figures(compiled: Compiled) -> dict[str, Any]:
    base, dev = compiled.candidates[0], compiled.dev
    return {
        "best": compiled.best.key,
        "uncompiled": base.key,
        "found": compiled.found.key if compiled.found else None,
        "candidates": [_candidate(one) for one in compiled.candidates],
        "dev": {
            "uncompiled": _scored(base, DEV),
            "compiled": _scored(compiled.best, DEV),
            "comparison": dev and dev.to_dict(),
        },
        "paid": compiled.paid.to_dict(),
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "key": candidate.key,
        "number": candidate.number,
        "prompts": candidate.stages,
        "validation": _scored(candidate, VALIDATION),
        "train": _scored(candidate, TRAIN),
        "failures": candidate.failures,
        "usage": candidate.cost().to_dict(),
    }


def _scored(candidate: Candidate, split: str) -> dict[str, Any]:
    found = candidate.interval(split)
    scored = None if found.n == 0 else found.estimate
    return {"n": candidate.asked(split), "score": scored, "ci95": None if found.n == 0 else [found.low, found.high]}


def rows(compiled: Compiled) -> list[tuple[str, ...]]:
    """A row a candidate, for `COLUMNS`; scores are on the validation questions unless they say train."""
    base = compiled.candidates[0]
    return [_row(one, base, compiled) for one in compiled.candidates if not _only_wrote_demos(one, compiled)]


def _only_wrote_demos(candidate: Candidate, compiled: Compiled) -> bool:
    """Whether it was never up for choice: the program that bootstraps demos has others for every question."""
    tried_on = optimizer_by_name(compiled.optimizer).tries_on_train
    return candidate is not compiled.best and not candidate.asked(VALIDATION) and not tried_on


def _row(candidate: Candidate, base: Candidate, compiled: Compiled) -> tuple[str, ...]:
    marks = [mark for mark, one in (("best", compiled.best), ("found", compiled.found)) if candidate is one]
    split = VALIDATION if candidate.asked(VALIDATION) else TRAIN
    found, usage, asked = candidate.interval(split), candidate.cost(), max(len(candidate.usage), 1)
    number = " ".join([str(candidate.number), *(f"({mark})" for mark in marks)])
    count = f"{candidate.asked(split)}{' train' if split == TRAIN else ''}"
    score = ("-", "-") if found.n == 0 else (f"{found.estimate:.1%}", f"{found.low:.1%} to {found.high:.1%}")
    usd = "no price" if usage.usd is None else f"{1000 * usage.usd / asked:.3f}"
    tokens = f"{(usage.input_tokens + usage.output_tokens) / asked:.0f}"
    return (number, _described(candidate, base), count, *score, str(len(candidate.failures)), tokens, usd)


def _described(candidate: Candidate, base: Candidate) -> str:
    if candidate is base:
        return "uncompiled"
    parts = []
    for stage, state in candidate.stages.items():
        said = []
        if state["signature"]["instructions"] != base.stages[stage]["signature"]["instructions"]:
            said.append("new instructions")
        if state["demos"]:
            nearest = f", nearest {state['nearest']} shown" if "nearest" in state else ""
            said.append(f"{len(state['demos'])} demos{nearest}")
        parts.append(f"{stage}: {', '.join(said) or 'as it was'}")
    return "; ".join(parts)


def summary(compiled: Compiled) -> list[str]:
    """What came of it, a sentence a line."""
    lines = [f"Incomplete: {compiled.incomplete}."] if compiled.incomplete else []
    base = compiled.candidates[0]
    writers = sum(_only_wrote_demos(one, compiled) for one in compiled.candidates)
    if writers:
        lines.append(f"{writers} further sets of prompts only wrote demos from training questions; compiled.json has them too.")
    if compiled.best is base:
        lines.append("No candidate that was scored on every validation question beats the uncompiled program, which is what was saved.")
        lines += [f"On {base.asked(DEV)} dev questions it has {_shown(base.interval(DEV))}."] if base.asked(DEV) else []
    if compiled.dev:
        ours, theirs, dev = compiled.best.interval(DEV), base.interval(DEV), compiled.dev
        lines.append(
            f"On {dev.n} dev questions that nothing was chosen by: {_shown(ours)} compiled, {_shown(theirs)} uncompiled; paired difference "
            f"{dev.delta:+.1%} ({dev.low:+.1%} to {dev.high:+.1%}), p = {dev.p:.3f}."
        )
    paid = compiled.paid
    usd = "without a known price" if paid.usd is None else f"{paid.usd:.4f} dollars"
    lines.append(f"Paid in all: {paid.calls} calls, {paid.input_tokens} input and {paid.output_tokens} output tokens, {usd}.")
    return lines


def _shown(interval: Any) -> str:
    return f"{interval.estimate:.1%} ({interval.low:.1%} to {interval.high:.1%})"


def table(compiled: Compiled) -> Table:
    """All candidates, for a terminal."""
    shown = Table(*COLUMNS, title=str(compiled.folder))
    for row in rows(compiled):
        shown.add_row(*row)
    return shown


def markdown(compiled: Compiled) -> str:
    """The table with the summary, the failures, and the best prompts."""
    lines = [f"# {compiled.optimizer}", "", *summary(compiled), "", "## Candidates", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(row) for row in rows(compiled)]
    failures = [(one.number, question, why) for one in compiled.candidates for question, why in one.failures.items()]
    if failures:
        lines += ["", "## Failed questions", "", _line(("candidate", "question", "what failed")), _line(["---"] * 3)]
        lines += [_line((str(number), question, why)) for number, question, why in failures]
    lines += ["", "## Best prompts"]
    for stage, state in compiled.best.stages.items():
        lines += ["", f"### {stage}", "", state["signature"]["instructions"], "", f"{len(state['demos'])} demos"]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    plain = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(plain)} |"
