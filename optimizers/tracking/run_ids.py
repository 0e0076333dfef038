"""Which run of a tracker is a job's: kept in the job's folder, so that the same job again goes on in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from optimizers.jobs.jsonlines import read_json, write_json


class RunIds:
    """The file `tracking.json` of a job's folder, for several processes at a time.

    Args:
        folder: The job's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tracking.json"
        self._lock = FileLock(folder / ".tracking.lock")

    def begun(self, tracker: str, place: str, key: str, begin: Callable[[str | None], str]) -> str:
        """The id of a run.

        Args:
            tracker: Name of the tracker.
            place: Where in the tracker; ids of other places stay.
            key: Which of the job's runs.
            begin: Takes the id on file, None if there is none, and gives the one to go on with.

        Raises:
            ValueError: The file is damaged; names it.
        """
        with self._lock:
            found = read_json(self._path)
            ids = found.setdefault(tracker, {}).setdefault(place, {})
            run = begin(ids.get(key))
            if run != ids.get(key):
                ids[key] = run
                write_json(self._path, found)
        return run

    def step(self, key: str) -> int:
        """How often a run was written to, this time included."""
        with self._lock:
            found = read_json(self._path)
            steps = found.setdefault("written", {})
            steps[key] = steps.get(key, 0) + 1
            write_json(self._path, found)
        return int(steps[key])
