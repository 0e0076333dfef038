"""A job's folder: made for one configuration, refused to another."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from optimizers.jobs.jsonlines import write_whole

Settings = dict[str, Any]
FillIn = Callable[[Settings], Settings]
Apart = Callable[[str, bool], bool]
"""Of a dotted setting, and whether both configurations have it: may it differ?"""


@dataclass(frozen=True)
class JobFolder:
    """The folder of a job, and the file in it that says with which settings it was made.

    Attributes:
        folder: The folder.
        what: What it holds, in messages: `run`, `compilation`, ...
        file: Name of the TOML file.
        flag: The option that chooses another folder.
        reuse: The option by which a new folder takes over the calls of this one; None where there is none.
    """

    folder: Path
    what: str
    file: str = "config.toml"
    flag: str = "--out"
    reuse: str | None = None

    @property
    def path(self) -> Path:
        """The TOML file."""
        return self.folder / self.file

    def settings(self) -> Settings | None:
        """What the folder was made with; None if nothing was made there yet.

        Raises:
            ValueError: The file is no TOML, or not readable.
        """
        if not self.path.exists():
            return None
        try:
            return tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{self.path} is no valid TOML ({error}); restore it, or choose another folder with {self.flag}.") from error

    def check(
        self, now: Settings, may_differ: Collection[str], fill_in: Callable[[Settings], Settings], apart: Apart | None = None
    ) -> None:
        """Refuse settings with which what stands in the folder would have come out otherwise.

        Args:
            now: The settings of this call.
            may_differ: Dotted names of those that may be others than the folder's.
            fill_in: Gives an older folder's settings those that were added to the package since, with their defaults.
            apart: Further settings that may differ.

        Raises:
            ValueError: There are any; shows the difference.
        """
        there = self.settings()
        if there is None:
            return
        if not any(there.get(name) == value or isinstance(there.get(name), dict) for name, value in now.items()):
            raise ValueError(
                f"{self.path} is no configuration of {_with_article(self.what)}; restore it, or choose another folder: "
                f"{self.flag} {free(self.folder)}"
            )
        changed = changed_settings(fill_in(there), now, may_differ, apart)
        if changed:
            raise ValueError(
                f"{self.folder} holds {_with_article(self.what)} of another configuration:\n"
                + "\n".join(changed)
                + f"\nChoose a new folder: {self.flag} {free(self.folder)}"
                + (f"\nTo make no call again that stays the same, add {self.reuse} {self.folder}" if self.reuse else "")
            )

    def open(self, now: Settings, may_differ: Collection[str], fill_in: FillIn, apart: Apart | None = None) -> None:
        """`check`, make the folder if it is not there, and write the settings of this call.

        Raises:
            ValueError: As of `check`; or the folder holds something else.
        """
        self.check(now, may_differ, fill_in, apart)
        if not self.path.exists() and self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no {self.what}. Choose another folder with {self.flag}.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write(now)

    def write(self, now: Settings) -> None:
        """Write the settings of this call."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, tomli_w.dumps(now))


def _with_article(what: str) -> str:
    return what if what.endswith("s") else f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def changed_settings(before: Settings, now: Settings, may_differ: Collection[str], apart: Apart | None = None) -> list[str]:
    """A line for each setting that stands differently in two configurations and may not."""
    one, other = flat(before), flat(now)
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name) and not _is_free(name, may_differ)]
    kept = [name for name in names if not (apart and apart(name, name in one and name in other))]
    return [f"  {name}: {one.get(name)!r} there, {other.get(name)!r} now" for name in kept]


def _is_free(name: str, may_differ: Collection[str]) -> bool:
    return name in may_differ or any(name.startswith(f"{section}.") for section in may_differ)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Nested settings by their dotted names."""
    found: Settings = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def free(folder: Path) -> Path:
    """A name beside `folder` that is not taken."""
    return next(path for n in range(2, 10_000) if not (path := folder.with_name(f"{folder.name}-{n}")).exists())
