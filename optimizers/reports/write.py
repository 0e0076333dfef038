"""Writes sections as markdown, as a self-contained HTML file, and their figures as PNG, whatever they report on.

The HTML loads nothing from outside and runs no script; every text from questions and models is escaped.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from optimizers.reports.blocks import Block, Bullets, Code, Picture, Question, Reply, Section, Table, Text

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE = Path(__file__).with_name("template.html.j2")


def write_sections(
    folder: Path,
    contents: Sequence[Section],
    *,
    title: str = "",
    stem: str = "report",
    figures: str = "figures",
    earlier: Sequence[str] = (),
) -> list[Path]:
    """Write `contents` as `<stem>.md`, `<stem>.html` and PNG files; returns these files.

    Files are replaced whole, so a reader never sees half of one.

    Args:
        folder: Where to write.
        contents: In reading order.
        title: Of the report; "Report of" the folder if it is empty.
        stem: Name of both files.
        figures: Folder of the PNG files, inside `folder`; "." for `folder` itself.
        earlier: Names or patterns of figures that an earlier report may have left; those not drawn this time are removed.
    """
    title = title or f"Report of {folder.resolve().name}"
    drawn = {folder / figures / block.name: block.data for section in contents for block in section.blocks if isinstance(block, Picture)}
    made = {
        folder / f"{stem}.md": markdown(title, contents, figures).encode("utf-8", "replace"),
        folder / f"{stem}.html": page(title, contents).encode("utf-8", "replace"),
        **drawn,
    }
    for path, data in made.items():
        _write(path, data)
    for path in [path for pattern in earlier for path in (folder / figures).glob(pattern) if path not in made]:
        path.unlink(missing_ok=True)
    return list(made)


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
    environment.filters["breakable"] = breakable
    sections = list(contents)
    named = list(zip(_anchors(section.title for section in sections), sections, strict=True))
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(title=title, sections=named)


def breakable(text: object) -> Markup:
    """A name, escaped, that a browser may break where its parts meet: `teacher+<wbr>teacher`."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[+@/._])(?=[^\W\d])", "<wbr>", str(escape(text))))


def _anchors(titles: Iterable[str]) -> list[str]:
    """A name in the page for each title; titles of other packages may be alike, names of a page may not."""
    found: list[str] = []
    for title in titles:
        name = re.sub(r"\W+", "-", title.lower())
        found.append(name if name not in found else f"{name}-{len(found) + 1}")
    return found


def markdown(title: str, contents: Iterable[Section], figures: str = "figures") -> str:
    """The report as GitHub-flavoured markdown; figures by their path below its folder."""
    parts = [f"# {_escape(title)}"]
    for section in contents:
        parts += [f"## {section.title}", *(_block(block, figures) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, figures: str) -> str:
    match block:
        case Text(text, tone):
            return {"plain": "{}", "missing": "*{}*"}.get(tone, "> {}").format(_escape(text))
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Table():
            return _table(block)
        case Picture(name, alt):
            return f"![{_escape(alt)}]({PurePosixPath(figures) / name})"
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
