"""The report of a run: `report.md`, a self-contained `report.html`, and the figures as PNG.

What stands in it is decided in `optimizers.report_sections`; here the run folder is read and the sections are written.
The HTML loads nothing from outside and runs no script; every text from questions and models is escaped.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optimizers.report_sections import Block, Bullets, Code, Picture, Question, Reply, RunFiles, Section, Table, Text, sections

SCHEMA = 1
FIGURES = ("accuracy.png", "tokens.png", "rows.png", "training.png")
_TEMPLATE = Path(__file__).with_name("report_template.html.j2")


def write_report(run_dir: Path) -> list[Path]:
    """Write `report.md`, `report.html` and `figures/*.png` of a run folder from what it holds.

    Works on a run that is not finished: what is missing is said to be missing, and figures of an earlier report that can
    no longer be drawn are removed. Files are replaced whole, so a reader never sees half of one.

    Args:
        run_dir: A run folder. `metrics.json`, `config.toml`, `predictions/*.jsonl`, `rows.jsonl` and
            `student/*/progress.jsonl` are read, each if it is there.

    Returns:
        The files written: the two reports, then the figures.

    Raises:
        FileNotFoundError: `run_dir` is no run folder.
        ValueError: A file in it is not what it should be; names the file.
    """
    run_dir = Path(run_dir)
    contents = sections(read_run(run_dir))
    written = write_sections(run_dir, contents)
    for name in set(FIGURES) - {path.name for path in written}:
        (run_dir / "figures" / name).unlink(missing_ok=True)
    return written


def write_sections(run_dir: Path, contents: Sequence[Section]) -> list[Path]:
    """Write `contents` as `report.md`, `report.html` and `figures/*.png` into `run_dir`; returns these files.

    Files are replaced whole, so a reader never sees half of one.
    """
    pictures = {block.name: block.data for section in contents for block in section.blocks if isinstance(block, Picture)}
    title = f"Report of {run_dir.resolve().name}"
    written = [run_dir / "report.md", run_dir / "report.html", *(run_dir / "figures" / name for name in pictures)]
    _write(written[0], markdown(title, contents).encode("utf-8", "replace"))
    _write(written[1], page(title, contents).encode("utf-8", "replace"))
    for name, data in pictures.items():
        _write(run_dir / "figures" / name, data)
    return written


def read_run(run_dir: Path) -> RunFiles:
    """The files of a run folder that a report speaks of.

    Raises:
        FileNotFoundError: `run_dir` holds neither `metrics.json` nor `config.toml`.
        ValueError: A file cannot be read, or `metrics.json` is of another schema.
    """
    if not any((run_dir / name).is_file() for name in ("metrics.json", "config.toml")):
        raise FileNotFoundError(
            f"{run_dir} is no run folder: it has neither metrics.json nor config.toml. "
            "Give the folder that `divide-or-conquer run --out DIR` wrote."
        )
    config = run_dir / "config.toml"
    return RunFiles(
        metrics=metrics_of(run_dir / "metrics.json"),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        predictions={path.stem: lines_of(path) for path in sorted(run_dir.glob("predictions/*.jsonl"))},
        rows=lines_of(run_dir / "rows.jsonl"),
        progress={path.parent.name: lines_of(path) for path in sorted(run_dir.glob("student/*/progress.jsonl"))},
    )


def metrics_of(path: Path) -> dict[str, Any]:
    """What `metrics.json` holds; empty if it is not there.

    Raises:
        ValueError: It is no JSON, or of another schema.
    """
    if not path.is_file():
        return {}
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Delete it and run `divide-or-conquer evaluate` again.") from error
    if not isinstance(metrics, dict) or metrics.get("schema", SCHEMA) != SCHEMA:
        found = metrics.get("schema") if isinstance(metrics, dict) else type(metrics).__name__
        raise ValueError(f"{path} has schema {found!r}; this version reads schema {SCHEMA}. Report with the version that wrote the run.")
    return metrics


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Records of a JSONL file; none if it is not there. A killed run leaves half a last line, which is passed over."""
    if not path.is_file():
        return []
    records = []
    texts = [(number, text) for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if text.strip()]
    for number, text in texts:
        try:
            record = json.loads(text)
        except ValueError as error:
            if number == texts[-1][0]:
                break
            raise ValueError(
                f"{path}, line {number} is not valid JSON ({error}). Delete that line and run the same command again."
            ) from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number} is {type(record).__name__}; expected a JSON object.")
        records.append(record)
    return records


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_bytes(data)
    draft.replace(path)


def page(title: str, contents: Iterable[Section]) -> str:
    """The report as one HTML file with its figures inside."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["anchor"] = lambda text: re.sub(r"\W+", "-", text.lower())
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(title=title, sections=list(contents))


def markdown(title: str, contents: Iterable[Section]) -> str:
    """The report as GitHub-flavoured markdown; figures by relative path."""
    parts = [f"# {_escape(title)}"]
    for section in contents:
        parts += [f"## {section.title}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text(text, tone):
            return {"plain": "{}", "missing": "*{}*"}.get(tone, "> {}").format(_escape(text))
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Table():
            return _table(block)
        case Picture(name, alt):
            return f"![{_escape(alt)}](figures/{name})"
        case Code(title, text, language):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{title}:\n\n{fence}{language}\n{text.rstrip()}\n{fence}"
        case Question():
            return _question(block)


def _table(table: Table) -> str:
    marks = [":--" if i in table.words else "--:" for i in range(len(table.columns))]
    rows = [[_escape(cell) for cell in row] for row in (table.columns, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], marks, *rows[1:]))


def _question(question: Question) -> str:
    passage = [f"> {_escape(question.context)}"] if question.context else []
    head = [f"### {_escape(question.question)}", *passage, f"Reference answer: {_escape(question.gold) or 'none'}"]
    return "\n\n".join([*head, *map(_reply, question.replies)])


def _reply(reply: Reply) -> str:
    steps = [f"    {i}. {_escape(step)}{f' → {_escape(answer)}' if answer else ''}" for i, (step, answer) in enumerate(reply.steps, 1)]
    remarks = [f"    - {_escape(remark)}" for remark in reply.remarks]
    return "\n".join([f"- {_escape(reply.condition)}: {_escape(reply.answer)} ({reply.verdict})", *steps, *remarks])


def _escape(text: str) -> str:
    """`text` on one line, with what markdown or HTML would read as markup made harmless."""
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(text, quote=False))
    return "<br>".join(line.strip() for line in text.splitlines())
