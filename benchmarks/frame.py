"""The frame of every benchmark: its arguments, the folder that it goes on in, and results that say where they come from.

Importing it lets a script run from a source tree that is not installed, and loads nothing heavy: some of the scripts
measure their own memory.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from optimizers.jobs.jsonlines import write_whole

if TYPE_CHECKING:
    from rich.console import Console

    from optimizers.jobs.progress import Progress
    from optimizers.settings.run import RunConfig


class Arguments(argparse.ArgumentParser):
    """The command line of a script, with the options that several have.

    Args:
        about: The docstring of the script.
        options: As of `ArgumentParser`.
    """

    def __init__(self, about: str | None, **options: Any) -> None:
        super().__init__(description=about, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def add_seeds(self) -> None:
        self.add_argument("--seeds", type=whole_numbers, default=[0, 1, 2], help="joined by commas (default 0,1,2)")

    def add_out(self, default: str | None = None) -> None:
        where = f" (default {default})" if default else ""
        self.add_argument("--out", type=Path, default=default, required=not default, help=f"folder, where the same command goes on{where}")

    def add_set(self, example: str) -> None:
        about = f"any other setting, such as {example}"
        self.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE", help=about)

    def add_words(self) -> None:
        self.add_argument("settings", nargs="*", help="after --: @ RECIPE and settings, as of `divide-or-conquer study`")


def whole_numbers(text: str) -> list[int]:
    """The value of `--seeds 0,1,2`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers from 0 on, joined by commas")
    return [int(part) for part in parts]


def setting(text: str) -> tuple[str, str]:
    """One value of `--set KEY=VALUE`."""
    key, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} must be KEY=VALUE, such as training.epochs=3")
    return key, value


def recipe_and_settings(words: Sequence[str], default: str) -> tuple[str, dict[str, Any]]:
    """What `@ RECIPE --section.key VALUE` says; without a recipe the script's own."""
    from optimizers.arguments import parse_settings

    recipe, settings = parse_settings(list(words))
    return recipe or default, dict(settings)


@functools.cache
def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """A line on standard error, above the bars."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def command(main: Callable[[], None]) -> None:
    """Do a script that goes on where it was: Ctrl-C leaves a hint, and an error that its user can mend is one line."""
    try:
        main()
    except KeyboardInterrupt:
        say("Stopped. What is finished is kept: the same command continues.")
        sys.exit(130)
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("DIVIDE_OR_CONQUER_TRACEBACK"):
            raise
        say(f"Error: {error}")
        sys.exit(2)


@contextlib.contextmanager
def working(folder: Path, name: str) -> Iterator[Progress]:
    """Work in a folder, with bars, `log.txt`, and its seconds in `timings.json`."""
    from optimizers.jobs.display import ProgressDisplay
    from optimizers.jobs.work import logging_to, timed

    folder.mkdir(parents=True, exist_ok=True)
    with logging_to(folder / "log.txt"), timed(folder, name), ProgressDisplay(_console()) as display:
        yield display


def part_of(show: Progress, name: str) -> Progress:
    """Shows the stages of one job among several."""
    return lambda stage, *rest: show(f"{name}: {stage}", *rest)


@contextlib.contextmanager
def shared_labels(out: Path, folder: Path) -> Iterator[bool]:
    """Give a study the labels of the first in `out`, or keep its own for the others; says which by whether there are any."""
    shared, own = out / "labels", folder / "labels"
    there = shared.exists()
    if there and not own.exists():
        shutil.copytree(shared, own)
    yield there
    if not there:
        shutil.copytree(own, shared)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def publish(path: Path, text: str) -> None:
    """Write a result whole, with where it comes from, and print it."""
    text = f"{text.rstrip()}\n\n{origin_line(origin(path.parent))}\n"
    write_whole(path, text)
    print(text)


def origin(folder: Path, config: RunConfig | None = None) -> dict[str, Any]:
    """Where figures come from: command, commit, versions, machine, seconds of the work in the folder, and date."""
    from optimizers.experiments.metrics import provenance
    from optimizers.settings.run import RunConfig

    name = f"benchmarks/{Path(sys.argv[0]).name}"
    own = {"command": shlex.join(["python", name, *sys.argv[1:]]), "date": datetime.now().astimezone().date().isoformat()}
    return {**provenance(config or RunConfig(), folder), **own}


def origin_line(found: Mapping[str, Any]) -> str:
    """What `origin` found, in a line of markdown."""
    from optimizers.reports.blocks import duration_text, machine_text

    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    seconds = duration_text(found["seconds"] or None)
    parts = [f"`{found['command']}`", found["commit"], machine_text(found["machine"]), versions, seconds, found["date"]]
    return "; ".join(part for part in parts if part)
