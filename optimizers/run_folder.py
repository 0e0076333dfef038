"""A run's folder: opened once for a configuration, and read back by `Run`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optimizers.config import RunConfig
from optimizers.finetune.jobs import read_progress
from optimizers.jsonlines import read_lines, write_json, write_whole
from programs.compiled import CompiledPrompts

MAY_DIFFER = {
    "out",
    *(f"cost.{key}" for key in ("local_usd_per_hour", "local_calls_per_second", "trained_tokens_per_second")),
    *(f"labelling.{key}" for key in ("threads", "max_calls", "max_tokens", "max_usd", "failure_share", "partial")),
    *(f"evaluation.{key}" for key in ("threads", "conditions")),
    *(f"training.{key}" for key in ("threads", "save_steps", "device")),
    "screening.measure",
}
"""Settings that change how a run is done, not what comes out of the parts that stand already."""


_GRID = {
    f"experiment.{key}"
    for key in ("train", "test", "conditions", "ablations", "rows", "limits", "training_seeds", "data_seeds", "sampling_seeds")
}
"""What may be added to an experiment, or left out for a time: every cell stands for itself."""


def open_folder(config: RunConfig, experiment: bool = False) -> Path:
    """The folder of a run, or of an experiment, made if it is not there.

    Raises:
        ValueError: It holds a run of another configuration; shows the difference.
    """
    folder = Path(config.out)
    path = folder / "config.toml"
    if path.exists():
        _refuse_other(config, path, experiment)
    else:
        refuse_strange(folder, "run")
    write_whole(path, config.to_toml(experiment))
    if config.teacher.program:
        _keep_program(CompiledPrompts.read(config.teacher.program), folder)
    return folder


def refuse_strange(folder: Path, what: str) -> None:
    """Make a folder that is not there yet; refuse one that holds something else."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no {what}. Choose another folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)


def _keep_program(prompts: CompiledPrompts, folder: Path) -> None:
    """Copy the teacher's compiled prompts beside what was made with them, so that the folder can be continued and read."""
    kept = folder / "teacher_program.json"
    if kept.exists() and json.loads(kept.read_text()) != prompts.state:
        raise ValueError(
            f"{folder} was made with other prompts than {prompts.path} has now; choose a new folder, --out {free(folder)}, or give "
            f"those it was made with: --teacher.program {kept}"
        )
    write_json(kept, prompts.state)


def _refuse_other(config: RunConfig, path: Path, experiment: bool) -> None:
    stands = path.read_text()
    if ("experiment" in tomllib.loads(stands)) != experiment:
        kinds = ("a run", "an experiment") if experiment else ("an experiment", "a run")
        raise ValueError(f"{path.parent} holds {kinds[0]}, not {kinds[1]}. Choose a new folder: --out {free(path.parent)}")
    before, now = (tomllib.loads(text) for text in (_with_later_settings(stands, experiment), config.to_toml(experiment)))
    # Of two compiled programs what they hold is compared.
    same = {"teacher.program"} if all("program" in side["teacher"] for side in (before, now)) else set()
    changed = changed_settings(before, now, MAY_DIFFER | _GRID | same)
    if experiment:
        sides = flat(before).keys() & flat(now).keys()
        changed = {key: line for key, line in changed.items() if not _stands_apart(key, key in sides)}
    refuse(path.parent, "a run", changed)


def _with_later_settings(stands: str, experiment: bool) -> str:
    """A folder's configuration with the defaults of settings that there were none of when it was made."""
    try:
        return RunConfig.model_validate(tomllib.loads(stands)).to_toml(experiment)
    except ValueError:
        return stands


def changed_settings(before: dict[str, Any], now: dict[str, Any], may_differ: Iterable[str] = MAY_DIFFER) -> dict[str, str]:
    """Dotted name -> a line on it, for each setting that stands differently in two configurations and may not."""
    one, other = flat(before), flat(now)
    names = sorted({*one, *other} - set(may_differ))
    return {name: f"  {name}: {one.get(name)!r} there, {other.get(name)!r} now" for name in names if one.get(name) != other.get(name)}


def refuse(folder: Path, what: str, changed: dict[str, str], flag: str = "--out") -> None:
    """Say which settings a folder's content was made with, if they are others.

    Raises:
        ValueError: There are any.
    """
    if changed:
        lines = "\n".join(changed.values())
        raise ValueError(f"{folder} holds {what} of another configuration:\n{lines}\nChoose a new folder: {flag} {free(folder)}")


def _stands_apart(key: str, on_both_sides: bool) -> bool:
    """Whether a changed setting leaves all of an experiment's cells true: a part added or left out, more or fewer test questions."""
    parts = key.split(".")
    return parts[-2:] == ["data", "test"] or (parts[0] == "experiment" and (not on_both_sides or parts[1::2] == ["data", "test"]))


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def free(folder: Path) -> Path:
    """A name beside `folder` that is not taken."""
    return next(path for n in range(2, 10_000) if not (path := folder.with_name(f"{folder.name}-{n}")).exists())


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
        path = self.folder / "metrics.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def predictions(self, condition: str) -> list[dict[str, Any]]:
        """A line a test question of one condition."""
        return list(read_lines(self.folder / "predictions" / f"{condition}.jsonl"))

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
            f"{r['condition']:<24} {r['score']:6.1%}  [{r['low']:.1%}, {r['high']:.1%}]  n={r['n']}  {_place(r)}".rstrip()
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
    values += [f"{row['score']:.1%}", f"{row['low']:.1%} to {row['high']:.1%}"]
    return "".join(f"<td>{value}</td>" for value in values)
