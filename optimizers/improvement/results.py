"""What `improve` left in its folder, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizers.jobs.jsonlines import read_json


class Improvement:
    """Reads what `improve` wrote; in a notebook it shows its table.

    Args:
        folder: Where `improve.json` is.

    Raises:
        ValueError: There is none.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / "improve.json").exists():
            raise ValueError(f"{self.folder} has no improve.json. Give the --out folder of `divide-or-conquer improve`.")

    @property
    def metrics(self) -> dict[str, Any]:
        """`improve.json`."""
        return read_json(self.folder / "improve.json")

    @property
    def student(self) -> str:
        """Model string of the best student."""
        return str(self.metrics["rounds"][self.metrics["best"]]["model"])

    def table(self) -> list[dict[str, Any]]:
        """A dict a round: number, rows, dev score, tokens, seconds, dollars."""
        return list(self.metrics["rounds"])

    def _repr_markdown_(self) -> str:
        return (self.folder / "improve.md").read_text()
