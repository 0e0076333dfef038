"""What `improve` left in its folder, for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.reports.blocks import Section, percent
from optimizers.reports.frames import (
    ANY,
    COMPARISON,
    COUNT,
    FLAG,
    PREDICTION,
    SHARE,
    TRAINING,
    WORDS,
    comparison_record,
    frame,
    prediction_records,
)
from optimizers.reports.improvement import sections, title
from optimizers.reports.notebook import ShownResult

if TYPE_CHECKING:
    from pandas import DataFrame

_ROUND = {
    "round": COUNT,
    "model": WORDS,
    "new_rows": COUNT,
    "rows": COUNT,
    "n": COUNT,
    "score": SHARE,
    "low": SHARE,
    "high": SHARE,
    "complete": FLAG,
    "tokens": COUNT,
    "seconds": SHARE,
    "usd": SHARE,
    "training_seconds": SHARE,
    "training_usd": SHARE,
}


class Improvement(ShownResult):
    """Reads what `improve` wrote; in a notebook it shows its rounds. Its frames have the dtypes of those of `Run`.

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

    def rounds(self) -> DataFrame:
        """A row a round, 0 for the student as it came.

        Returns:
            round (`Int64`), model (`string`), new_rows and rows that it was trained on, n, number of dev questions (`Int64`); score on the
            dev questions, from 0 to 1, low and high, its 95 % interval (`float64`); complete, whether all were asked (`boolean`);
            tokens (`Int64`), seconds and usd, dollars (`float64`), of the tries and dev questions; training_seconds and training_usd.
        """
        named = ({**one, "score": one.get("dev"), "n": one.get("dev_questions")} for one in self.table())
        return frame(map(comparison_record, named), _ROUND)

    def comparisons(self) -> DataFrame:
        """A row a set of test questions: the best round against round 0, with the columns of `Run.comparisons` behind test (`string`)."""
        tests = self.metrics.get("tests", {})
        found = ({**comparison_record(one["comparison"]), "test": name} for name, one in tests.items() if one.get("comparison"))
        return frame(found, {"test": WORDS, **COMPARISON})

    def predictions(self, questions: str = "test") -> DataFrame:
        """A row a round and question, with the columns of `Run.predictions` behind round (`Int64`).

        Args:
            questions: `test`, `dev`, or `own` for those of the run's own task.

        Raises:
            ValueError: No such questions were asked.
        """
        found = [(number, path) for number, folder in self._rounds() if (path := folder / f"{questions}.jsonl").exists()]
        if not found:
            raise ValueError(f"{self.folder} has no answers to {questions!r} questions; expected test, dev or own.")
        records = (record for number, path in found for record in prediction_records(path, round=number))
        return frame(records, {"round": COUNT, **PREDICTION})

    def rows(self) -> DataFrame:
        """A row a training row that a round found, by what its own decompositions led to.

        Returns:
            round (`Int64`), id (`object`), sample (`Int64`), reward, from 0 to 1 (`float64`), messages, the chat that is learned
            (`object`).
        """
        records = ({**line, "round": number} for number, folder in self._rounds() for line in read_lines(folder / "rows.jsonl"))
        return frame(records, {"round": COUNT, "id": ANY, "sample": COUNT, "reward": SHARE, "messages": ANY})

    def training(self) -> DataFrame:
        """A row a training step that was noted, with the columns of `Run.training` behind round (`Int64`), without student."""
        records = ({**line, "round": number} for number, folder in self._rounds() for line in read_progress(folder / "student"))
        return frame(records, {"round": COUNT, **TRAINING})

    def _rounds(self) -> Iterator[tuple[int, Path]]:
        folders = (path for path in (self.folder / "rounds").glob("*") if path.name.isdecimal())
        yield from sorted((int(path.name), path) for path in folders)

    def table(self) -> list[dict[str, Any]]:
        """A dict a round: number, rows, dev score, tokens, seconds, dollars."""
        return list(self.metrics["rounds"])

    def shown(self) -> tuple[str, list[Section]]:
        """What its report says."""
        found = self.metrics
        return f"{title(found)}, in {self.folder}", sections(found)

    def __repr__(self) -> str:
        scores = ", ".join(f"round {one['round']} {percent(one['dev'])}" for one in self.table())
        return f"Improvement({str(self.folder)!r}): {scores}; best {self.metrics['best']}"
