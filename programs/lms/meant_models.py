"""What a name that is no model may have been meant for: what lies at that place or beside it, and weights that can be fetched."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from programs.lms.artifacts import MANIFEST
from programs.lms.known_weights import WEIGHTS
from programs.lms.weights import is_fetched

_MODELS = (MANIFEST, "config.json")
_SHOWN = 5


def meant(name: str) -> str:
    """What may have been meant by `name`, which is no model: a sentence with a space before it, empty where nothing is near.

    Args:
        name: A path, a name of weights, or a slip in either, without a prefix.
    """
    found = _here(Path(name).expanduser(), name) or _near(name)
    return f" Did you mean {' or '.join(found)}?{_fetching(found)}" if found else ""


def step_for(name: str) -> str:
    """`meant`, or else where the path was looked for, and how weights are brought here."""
    path = Path(name).expanduser()
    looked = f" It was looked for as {path.absolute()}." if name and not path.is_absolute() else ""
    return meant(name) or f"{looked} Weights of gguf/NAME are brought here by: divide-or-conquer fetch NAME"


def models_below(folder: Path) -> list[str]:
    """Model strings of what lies in a folder that is no model itself: students of a run, checkpoints, GGUF files."""
    inner = [path.parent for pattern in ("*", "*/*") for name in _MODELS for path in sorted(folder.glob(f"{pattern}/{name}"))]
    files = sorted(folder.glob("*.gguf"))
    return [f"local/{path}" for path in dict.fromkeys(inner)] + [f"gguf/{path}" for path in files]


def _here(path: Path, name: str) -> list[str]:
    """Models at the place itself, under another prefix."""
    if name in WEIGHTS:
        return [f"gguf/{name}"]
    if not name or not path.exists():
        return []
    if path.is_file():
        return [f"gguf/{name}"] if path.suffix.lower() == ".gguf" else []
    return [f"local/{name}"] if _is_model(path) else models_below(Path(name))[:_SHOWN]


def _near(name: str) -> list[str]:
    """Models of a name like this one: beside the place, or to be fetched."""
    path = Path(name).expanduser()
    beside = {one.name: one for one in _inside(path.parent) if _is_model(one) or one.suffix.lower() == ".gguf"} if name else {}
    found = difflib.get_close_matches(path.name, [*beside, *WEIGHTS], n=1)
    return [f"gguf/{one}" if one in WEIGHTS or beside[one].is_file() else f"local/{Path(name).parent / one}" for one in found]


def _inside(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return ()


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MODELS)


def _fetching(found: list[str]) -> str:
    name = found[0].removeprefix("gguf/")
    return f" It is brought here by: divide-or-conquer fetch {name}" if name in WEIGHTS and not is_fetched(name) else ""
