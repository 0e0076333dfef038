"""What results look like in a notebook: an HTML fragment of the same blocks as the reports, and figures at the size of a screen.

Every text of questions, models and folders is escaped. Colours are the notebook's own, and figures are turned over where it is dark.
"""

from __future__ import annotations

import base64
import html
import struct
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optimizers.reports.blocks import Section, Table, Text
from optimizers.reports.figures import WIDTH

SCREEN_WIDTH = round(100 * WIDTH)
"""Pixels of a figure on a screen, of the browser's; its file has about twice as many, for sharp ones."""

ROWS = 40
"""Rows of a table that are shown; a frame has them all."""

_TEMPLATE = Path(__file__).with_name("notebook.html.j2")

_DARK = (
    'body[data-jp-theme-light="false"] .divide-or-conquer img',
    ".vscode-dark .divide-or-conquer img",
    ".vscode-high-contrast .divide-or-conquer img",
    "html[theme=dark] .divide-or-conquer img",
)
"""Dark JupyterLab and nbconvert, Visual Studio Code, Colab: they say so in their pages, and not by what the system prefers."""

PICTURE_STYLE = (
    f".divide-or-conquer img {{ width: {SCREEN_WIDTH}px; max-width: 100%; height: auto; }}\n"
    f"{', '.join(_DARK)} {{ filter: invert(0.93) hue-rotate(180deg); }}"
)


def fragment(title: str, contents: Sequence[Section]) -> str:
    """Sections as HTML for a notebook's cell; questions of a report have no place there."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    # Markup as it is ours: `>` and quotation marks mean what they mean in CSS.
    return template.render(title=title, sections=contents, width=1.6 * SCREEN_WIDTH, picture_style=Markup(PICTURE_STYLE))


def shortened(table: Table, frame: str) -> list[Table | Text]:
    """A table of at most `ROWS` rows, and what has the others.

    Args:
        table: Of any length.
        frame: How to get at all of them: `.conditions()`.
    """
    if len(table.rows) <= ROWS:
        return [table]
    left = len(table.rows) - ROWS
    return [Table(table.columns, table.rows[:ROWS], table.words), Text(f"and {left} more: {frame} has them all.", "note")]


class ShownResult:
    """A mixin for results that lie in a folder: what a notebook shows of them."""

    folder: Path

    @abstractmethod
    def shown(self) -> tuple[str, list[Section]]:
        """Title and sections."""

    def figures(self) -> dict[str, FigureFile]:
        """Figure name -> its PNG, which a notebook shows at the size of a screen."""
        return {path.stem: FigureFile(path) for path in sorted((self.folder / "figures").glob("*.png"))}

    def _repr_html_(self) -> str:
        try:
            return fragment(*self.shown())
        except (ValueError, OSError) as error:
            return fragment(str(self.folder), [Section("", [Text(str(error), "warning")])])


class FigureFile(type(Path())):  # type: ignore[misc]
    """The path of a PNG; as the last line of a notebook's cell it shows the figure."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        data = self.read_bytes()
        encoded = base64.b64encode(data).decode("ascii")
        wide, high = struct.unpack(">II", data[16:24])
        width = min(wide, SCREEN_WIDTH)
        name = html.escape(self.stem, quote=True)
        page = (
            f'<div class="divide-or-conquer"><style>{PICTURE_STYLE}</style><img alt="{name}" src="data:image/png;base64,{encoded}"></div>'
        )
        size = {"width": width, "height": round(high * width / wide)}
        return {"text/html": page, "image/png": encoded, "text/plain": repr(self)}, {"image/png": size}
