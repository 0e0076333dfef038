"""Files and folders that are made at first use, by one process while the others wait, and appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from programs.lms.artifacts import FREE_SPACE, folder_lock, writable


def made_once(target: Path, make: Callable[[Path], None], bytes_needed: int = 0, stands: Callable[[Path], bool] = Path.exists) -> Path:
    """What `make` writes, at `target`; made only if nothing stands there.

    Args:
        target: A file or a folder below the models' home.
        make: Writes a file, or into a folder that it makes itself, at the path that it is given.
        bytes_needed: What it will take on the disk, about; 0 if that is not worth a check.
        stands: Whether what is at `target` can be used; a file that cannot is made again in its place.

    Raises:
        ValueError: No space there, or no permission.
    """
    if stands(target):
        return target
    # The lock is not the target's own, which `make` may take.
    with writable(target), folder_lock(target.with_name(f"{target.name}.preparing")):
        if not stands(target):
            remove_left(target)
            _check_space(target.parent, bytes_needed)
            _make(target, make)
    return target


def _make(target: Path, make: Callable[[Path], None]) -> None:
    partial = partial_path(target, os.getpid())
    try:
        make(partial)
        os.replace(partial, target)
    finally:
        _remove(partial)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed. {FREE_SPACE}")


def partial_path(target: Path, process: int | str) -> Path:
    """Where a process writes what becomes `target`; `*` for any."""
    return target.with_name(f".{target.name}-{process}.partial")


def remove_left(target: Path) -> None:
    """Remove what killed processes left; whoever holds the lock is the only one at work."""
    for left in target.parent.glob(partial_path(target, "*").name):
        _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
