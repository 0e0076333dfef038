"""What `run` and `experiment` left in a folder, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimizers.evaluation.evaluate import latest
from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.reports.blocks import percent


class Run:
    """Reads a run folder; in a notebook it shows its table and draws its figures.

    Args:
        folder: A folder that `optimizers.run` or the command line filled.

    Raises:
        ValueError: No run there.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / "config.toml").exists():
            raise ValueError(f"{self.folder} holds no run: it has no config.toml. Give the --out folder of `divide-or-conquer run`.")

    @property
    def metrics(self) -> dict[str, Any]:
        """`metrics.json`; empty before the report stage."""
        return read_json(self.folder / "metrics.json")

    def predictions(self, condition: str) -> list[dict[str, Any]]:
        """A line a test question of one condition: its last answer; before the report stage also of questions that are asked no more."""
        path = self.folder / "predictions" / f"{condition}.jsonl"
        asked = self.metrics.get("test_ids")
        return [line for line in latest(read_lines(path), path) if asked is None or line["id"] in asked]

    def rows(self) -> list[dict[str, Any]]:
        """A line an example and policy: kept, or the reason why not."""
        return list(read_lines(self.folder / "rows.jsonl"))

    def training(self, student: str) -> list[dict[str, Any]]:
        """A line a training step: step, seconds, loss."""
        return read_progress(self.folder / "student" / student)

    def figures(self) -> dict[str, Path]:
        """Figure name -> PNG."""
        return {path.stem: path for path in sorted((self.folder / "figures").glob("*.png"))}

    def table(self) -> list[dict[str, Any]]:
        """Accuracy by condition, a dict a row: condition, n, score, low, high, failed; of an experiment also test, train, variant."""
        metrics = self.metrics
        if "cells" in metrics:
            places = ("test", "train", "student", "ablation", "data_seed", "seed")
            return [{**{key: cell[key] for key in places}, **_table_row(cell["condition"], cell)} for cell in metrics["cells"]]
        return [_table_row(name, condition) for name, condition in metrics.get("conditions", {}).items()]

    def _repr_html_(self) -> str:
        table = self.table()
        columns = [*(["test", "train"] if table and "test" in table[0] else []), "condition", "n"]
        heads = "".join(f"<th>{name}</th>" for name in [*columns, "accuracy", "95 % interval"])
        rows = "".join(f"<tr>{_cells(row, columns)}</tr>" for row in table)
        return f"<p>Run in <code>{self.folder}</code></p><table><tr>{heads}</tr>{rows}</table>"

    def __repr__(self) -> str:
        lines = [
            f"{r['condition']:<24} {percent(r['score']):>6}  [{percent(r['low'])}, {percent(r['high'])}]  n={r['n']}  {_place(r)}".rstrip()
            for r in self.table()
        ]
        return "\n".join([f"Run({str(self.folder)!r})", *lines])


def _place(row: dict[str, Any]) -> str:
    """Where an experiment's cell was trained and tested; empty for a run."""
    if "test" not in row:
        return ""
    return f"{row['train']} -> {row['test']}" if row["train"] else f"on {row['test']}"


def _table_row(name: str, condition: dict[str, Any]) -> dict[str, Any]:
    low, high = condition["ci95"]
    return {"condition": name, "n": condition["n"], "score": condition["score"], "low": low, "high": high, "failed": condition["failed"]}


def _cells(row: dict[str, Any], columns: list[str]) -> str:
    values = [row[name] or "" for name in columns]
    values += [percent(row["score"]), f"{percent(row['low'])} to {percent(row['high'])}"]
    return "".join(f"<td>{value}</td>" for value in values)
