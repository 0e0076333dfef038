"""What `run` and `experiment` left in a folder, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.conditions import CASCADE_FOLDER
from optimizers.finetune.job_folder import read_progress
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.reports.blocks import CONTINUE, Block, Section, Table, Text, count_text, missing_text, percent, percent_interval
from optimizers.reports.frames import (
    ANY,
    COMPARISON,
    COUNT,
    FLAG,
    PREDICTION,
    SCORE,
    SCREENING,
    TRAINING,
    WORDS,
    comparison_record,
    frame,
    prediction_records,
    score_record,
    screening_record,
)
from optimizers.reports.notebook import ShownResult, shortened

if TYPE_CHECKING:
    import dspy
    from pandas import DataFrame

_CELL = {"test": WORDS, "train": WORDS, "student": WORDS, "ablation": WORDS, "data_seed": COUNT, "seed": COUNT}
"""What tells the cells of an experiment apart."""

_MADE = {"train": WORDS, "variant": WORDS}
"""What tells the students of an experiment apart."""


class Run(ShownResult):
    """Reads the folder of a run or an experiment; in a notebook it shows its table, and its figures draw themselves.

    The frames have pandas' dtypes: counts are `Int64`, scores, seconds and dollars `float64`, words `string`, yes and no `boolean`,
    and what may be anything `object`. What is not known is missing, never 0. Those of an experiment begin with what tells its cells
    apart: test, train, student, ablation (`string`), data_seed and seed (`Int64`), or train and variant (`string`).

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

    def program(
        self, condition: str | None = None, *, test: str | None = None, train: str | None = None, variant: str | None = None
    ) -> dspy.Module:
        """A condition's program as the job asked it: its models, compiled prompts, formats and limits. It is asked anew, and kept nowhere.

        Nothing is written into the folder. Relative paths in its settings are taken from the working directory that it was made in, which
        the process changes to while the program is made.

        Args:
            condition: Its name; by default that of the decomposer S_D-R, or else the first with a student that was trained here.
            test: Of an experiment, the task that it was asked; the first by default.
            train: The task that its students were trained on; the first by default.
            variant: How they were made, such as `rows=50`; by default `main`, the experiment's own settings, or else the first that has
                the condition.

        Returns:
            A DSPy program of `question` and `context`.

        Raises:
            ValueError: No such condition, task or variant; a student that is not there; data or a model that is gone, or an API model
                without its key.
        """
        from optimizers.experiments.rebuilt import program_of

        return program_of(self.folder, condition, test, train, variant)

    def conditions(self) -> DataFrame:
        """A row a condition, or a cell of an experiment; none before the report stage.

        Returns:
            condition (`string`); n and scored, numbers of questions (`Int64`); score, the mean over the scored ones, from 0 to 1, low and
            high, its 95 % interval (`float64`); failed and unparsed, numbers of questions (`Int64`); input_tokens and output_tokens
            (`Int64`), seconds of the models' time and usd, dollars (`float64`), of all questions together.
        """
        metrics = self.metrics
        cells = metrics.get("cells") or ()
        named = ({"condition": name, **entry} for name, entry in metrics.get("conditions", {}).items())
        places = _CELL if "cells" in metrics else {}
        return frame(map(score_record, cells if places else named), {**places, "condition": WORDS, **SCORE})

    def comparisons(self) -> DataFrame:
        """A row a comparison of two conditions on the same questions; none before the report stage.

        Returns:
            a and b, conditions (`string`); n, questions scored in both (`Int64`); delta, the mean of score(a) - score(b), from -1 to 1,
            low and high, its 95 % interval, p, of the test that there is no difference, p_holm, p corrected for all comparisons
            (`float64`); wins, losses and ties of a, numbers of questions (`Int64`).
        """
        metrics = self.metrics
        places = _CELL if "cells" in metrics else {}
        return frame(map(comparison_record, metrics.get("comparisons", ())), {**places, **COMPARISON})

    def predictions(self, condition: str | None = None) -> DataFrame:
        """A row a condition and test question, its last answer; before the report stage also of questions that are asked no more.

        Args:
            condition: Its name; all by default.

        Returns:
            condition (`string`), in an experiment before it test, train and variant (`string`); id (`object`), question, context
            (`string`), gold, subquestions and sub_answers (`object`, the last two lists), reasoning and answer (`string`); score, from 0 to
            1, missing where unscored (`float64`); state of the decomposition, detail of the score (`string`), unparsed and cut_off
            (`boolean`), error (`string`); input_tokens, output_tokens (`Int64`), seconds and usd, dollars (`float64`).

        Raises:
            ValueError: Nothing was asked under such a condition; names those that there are. Or a file is damaged.
        """
        found = [(place, path) for place, path in self._asked() if condition in (None, place["condition"])]
        if condition is not None and not found:
            known = sorted({place["condition"] for place, _ in self._asked()})
            raise ValueError(f"{self.folder} has no answers of {condition!r}; it has {known}.")
        metrics = self.metrics
        records = (record for place, path in found for record in prediction_records(path, _ids(metrics, place.get("test")), **place))
        places = {"test": WORDS, **_MADE} if any("test" in place for place, _ in found) else {}
        return frame(records, {**places, "condition": WORDS, **PREDICTION})

    def _asked(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """The files of predictions with what they are of."""
        folder = self.folder / "predictions"
        for path in sorted(folder.rglob("*.jsonl")):
            *places, _ = path.relative_to(folder).parts
            if places[:1] == [CASCADE_FOLDER]:
                continue
            if places or path.name != "calls.jsonl":
                yield {**dict(zip(("test", *_MADE), places, strict=False)), "condition": path.name.removesuffix(".jsonl")}, path

    def faults(self) -> DataFrame:
        """A row a condition in two stages of an experiment: which repair would have helped where it was wrong; none of a run.

        Returns:
            test, train and condition (`string`); wrong, questions that it failed, and of these decomposition, where better subquestions
            help, solver, where the teacher does with the same ones, either, where each repair alone does, both, where it takes the two,
            neither, where even that does not (`Int64`); rescuer, whose subquestions are the better ones (`string`).
        """
        counts = dict.fromkeys(("wrong", "decomposition", "solver", "either", "both", "neither"), COUNT)
        return frame(self.metrics.get("errors") or (), {"test": WORDS, "train": WORDS, "condition": WORDS, **counts, "rescuer": WORDS})

    def screening(self) -> DataFrame:
        """A row a screening policy that was measured against the reference answers; none where every policy used them.

        Returns:
            policy (`string`); samples and kept, numbers of the teacher's samples (`Int64`); precision, the share of right ones among those
            kept, recall, the share kept of the right ones, from 0 to 1, each with its 95 % interval (`float64`); calls, cache_hits,
            input_tokens and output_tokens (`Int64`), seconds and usd, dollars (`float64`), of the policy's own calls; in an experiment
            before them train and variant (`string`).
        """
        records = [screening_record(record) for record in self.metrics.get("screening") or ()]
        places = _MADE if any("train" in record for record in records) else {}
        return frame(records, {**places, "policy": WORDS, **SCREENING})

    def rows(self) -> DataFrame:
        """A row a teacher sample and student: kept for its training, or the reason why not.

        Returns:
            student, target, policy (`string`), id (`object`), sample, number of the teacher's run (`Int64`), question (`string`), kept
            (`boolean`), reason (`string`), origin of a row that no teacher wrote (`string`), messages, the chat that is learned or None
            (`object`); in an experiment before them train and variant (`string`).
        """
        records = [
            {**line, **place} for place, folder in self._students("notes", self.folder) for line in read_lines(folder / "rows.jsonl")
        ]
        columns = {"student": WORDS, "target": WORDS, "policy": WORDS, "id": ANY, "sample": COUNT, "question": WORDS, "kept": FLAG}
        return frame(records, {**self._made(), **columns, "reason": WORDS, "origin": WORDS, "messages": ANY})

    def training(self, student: str | None = None) -> DataFrame:
        """A row a training step that was noted.

        Args:
            student: The name of its folder, such as `S_D-R`; all by default.

        Returns:
            student (`string`), step and steps in all (`Int64`), seconds since the start, loss, and eval_loss on held-out rows, missing
            where it was not measured (`float64`); in an experiment before them train and variant (`string`).

        Raises:
            ValueError: No student of such a name was trained; names those that were.
        """
        own = sorted((self.folder / "student").glob("*"))
        trained = [(place, folder) for place, folder in self._students("*", *own) if (folder / "progress.jsonl").exists()]
        folders = [(place, folder) for place, folder in trained if student in (None, folder.name)]
        if student is not None and not folders:
            raise ValueError(f"{self.folder} has no training of {student!r}; it has {sorted({folder.name for _, folder in trained})}.")
        records = [{**line, **place, "student": folder.name} for place, folder in folders for line in read_progress(folder)]
        return frame(records, {**self._made(), "student": WORDS, **TRAINING})

    def _made(self) -> dict[str, str]:
        return _MADE if (self.folder / "students").is_dir() else {}

    def _students(self, name: str, *own: Path) -> Iterator[tuple[dict[str, str], Path]]:
        """Folders of an experiment's students by name, with what they were trained on; or those of a run."""
        if not self._made():
            yield from (({}, folder) for folder in own)
        for folder in sorted((self.folder / "students").glob(f"*/*/{name}")):
            yield {"train": folder.parts[-3], "variant": folder.parts[-2]}, folder

    def table(self) -> list[dict[str, Any]]:
        """Accuracy by condition, a dict a row: condition, n, score, low, high, failed; of an experiment also test, train, variant."""
        metrics = self.metrics
        if "cells" in metrics:
            return [{**{key: cell[key] for key in _CELL}, **_table_row(cell["condition"], cell)} for cell in metrics["cells"]]
        return [_table_row(name, condition) for name, condition in metrics.get("conditions", {}).items()]

    def shown(self) -> tuple[str, list[Section]]:
        """The table of a notebook, and what else there is."""
        metrics = self.metrics
        entries = metrics.get("cells") or [{"condition": name, **entry} for name, entry in metrics.get("conditions", {}).items()]
        title = f"{'Experiment' if 'cells' in metrics else 'Run'} in {self.folder}"
        if not entries:
            return title, [Section("", [missing_text(f"No condition has been evaluated. {CONTINUE}")])]
        # What is the same in all cells tells nothing.
        places = [name for name in _CELL if len({str(entry.get(name)) for entry in entries}) > 1]
        columns = ["condition", *(name.replace("_", " ") for name in places), "accuracy", "95% interval", "questions", "failed"]
        rows = [[entry["condition"], *(_word(entry.get(name)) for name in places), *_score_cells(entry)] for entry in entries]
        table = Table(columns, rows, frozenset(range(len(places) + 1)))
        further = Text(f"Report: {self.folder / 'report.html'}. Frames: .conditions(), .comparisons(), .predictions().", "note")
        blocks: list[Block] = [*shortened(table, ".conditions()"), further]
        return title, [Section("", blocks)]

    def __repr__(self) -> str:
        lines = [
            f"{r['condition']:<24} {percent(r['score']):>6}  [{percent(r['low'])}, {percent(r['high'])}]  n={r['n']}  {_place(r)}".rstrip()
            for r in self.table()
        ]
        return "\n".join([f"Run({str(self.folder)!r})", *lines])


def _ids(metrics: dict[str, Any], test: str | None) -> list[Any] | None:
    """Ids of the questions that the report is about; None where there is none yet."""
    of_test = metrics.get("tasks", {}).get(test, {}) if test else metrics
    return of_test.get("test_ids")


def _place(row: dict[str, Any]) -> str:
    """Where an experiment's cell was trained and tested; empty for a run."""
    if "test" not in row:
        return ""
    return f"{row['train']} -> {row['test']}" if row["train"] else f"on {row['test']}"


def _table_row(name: str, condition: dict[str, Any]) -> dict[str, Any]:
    low, high = condition["ci95"]
    return {"condition": name, "n": condition["n"], "score": condition["score"], "low": low, "high": high, "failed": condition["failed"]}


def _score_cells(entry: dict[str, Any]) -> list[str]:
    return [percent(entry.get("score")), percent_interval(entry), *(count_text(entry.get(name)) for name in ("n", "failed"))]


def _word(value: Any) -> str:
    return "" if value is None else str(value)
