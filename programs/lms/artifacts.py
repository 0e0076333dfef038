"""Immutable model folders: what they hold, who made them, and that nobody changed them since."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

MANIFEST = "manifest.json"
MERGE_INTO = "merge_into"
"""Entry of the manifest of an adapter that is saved alone: the model string of its base, with its hash or revision."""
SCHEMA = 1
NAMESPACES = ("local", "embedded")
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle"}
_BYSTANDERS = {"readme.md", "license", "license.txt", "license.md", ".gitattributes", ".gitignore"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What an artifact may be called."""
FREE_SPACE = "Free some space there, or set DIVIDE_OR_CONQUER_HOME to another folder."
"""What to do where the models' home takes no more."""
_LIBRARIES = ("dspy-ai", "peft", "safetensors", "tokenizers", "torch", "transformers", "trl")
_verified: dict[Path, tuple[Any, ...]] = {}
_registered: dict[str, Path] = {}
_lock = threading.RLock()
logger = logging.getLogger(__name__)


def home() -> Path:
    """Where models are kept: `$DIVIDE_OR_CONQUER_HOME`, or `~/.cache/divide-or-conquer`."""
    chosen = os.environ.get("DIVIDE_OR_CONQUER_HOME")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "divide-or-conquer"


class Located(Protocol):
    """A model at a place of this machine."""

    @property
    def model_string(self) -> str:
        """With the hash of its content."""

    @property
    def path(self) -> Path:
        """Its folder or file."""


_Found = TypeVar("_Found", bound=Located)


@dataclass(frozen=True)
class Artifact:
    """A model folder with its manifest.

    Attributes:
        folder: Where the files lie.
        manifest: What `publish` wrote: name, base model, hashes of the files, adapter, training, versions.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The name that it was published under."""
        return str(self.manifest["name"])

    @property
    def hash(self) -> str:
        """Hash of everything that an answer depends on, as 12 hex digits."""
        return _content_hash(self.manifest)

    @property
    def model_string(self) -> str:
        """The model string with the hash: DSPy's cache knows a model by its string alone, so that this has to name the content."""
        return f"{self.manifest['namespace']}/{self.name}@{self.hash}"

    @property
    def path(self) -> Path:
        """Where it lies: its folder."""
        return self.folder

    @property
    def adapter(self) -> str | None:
        """The prompt format that the model was trained on (see `programs.adapter.adapter_by_name`)."""
        return self.manifest.get("adapter")


def publish(source: Path, target: Path, *, name: str, namespace: str = "local", **manifest: Any) -> Artifact:
    """Turn the model folder `source` into an artifact at `target`.

    The folder moves in one step, so no reader ever sees half of it.

    Args:
        source: safetensors, config and tokenizer; gone afterwards.
        target: Where it goes; must be on the same file system.
        name: Letters, digits, dots, dashes and underscores.
        namespace: `local`, or `embedded` for what this project ships.
        **manifest: What else to record: `base`, `adapter`, `training`, `rows_hash`, `metrics`.

    Raises:
        ValueError: A bad name, no safetensors, pickled weights, or another artifact already at `target`.
    """
    source, target = Path(source), Path(target)
    _check_name(name, namespace)
    record = _manifest(source, name, namespace, manifest)
    write_json(source / MANIFEST, record)
    _share_alike(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(target):
        if target.exists():
            return _keep_existing(source, target, _content_hash(record))
        os.replace(source, target)
    return open_artifact(target)


def open_artifact(folder: Path | str, verify: bool = True) -> Artifact:
    """The artifact in `folder`, checked file by file once a process.

    Args:
        folder: An artifact that `publish` made.
        verify: Compare every file with its hash; weights are never loaded unverified by the engine.

    Raises:
        ValueError: No manifest or a malformed one, a name that `publish` would refuse, pickled weights, or a file that is
            missing, changed or not in the manifest.
    """
    folder = Path(folder).expanduser().resolve()
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        artifact = Artifact(folder, manifest)
        _check_manifest(manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{folder} is no model artifact: {MANIFEST} is missing. Make one with programs.lms.artifacts.publish, or distil a student."
        ) from None
    except OSError as error:
        raise ValueError(f"{folder / MANIFEST} cannot be read ({error.strerror}); check the folder and its permissions.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / MANIFEST} is unreadable ({error!r}); publish the model again.") from error
    if verify:
        _verify(folder, manifest)
    return artifact


def register(model: Located) -> str:
    """Make `model` known under its model string, in this process and in those to come.

    Returns:
        The model string.
    """
    with _lock:
        _registered[model.model_string] = model.path
    index = home() / "artifacts.json"
    if read_index(index).get(model.model_string) != str(model.path):
        try:
            with folder_lock(index):
                write_json(index, read_index(index) | {model.model_string: str(model.path)})
        except OSError as error:
            logger.info("%s is known to this process alone: %s cannot be written (%s)", model.model_string, index, error.strerror)
    return model.model_string


def find(model_string: str, verify: bool = True) -> Artifact:
    """The artifact that a model string names.

    Raises:
        ValueError: Nobody registered it, its folder is gone, or what lies there is something else by now.
    """
    return find_by(model_string, lambda folder: open_artifact(folder, verify))


def find_by(model_string: str, opened: Callable[[Path], _Found]) -> _Found:
    """The model that a model string names, as `opened` gives it for the path that was registered.

    Raises:
        ValueError: Nobody registered it, it is gone, or what lies there is something else by now.
    """
    path = known_path(model_string)
    if path is None or not path.exists():
        kind, what = ("gguf", "file") if model_string.startswith("gguf/") else ("local", "folder")
        reason = f"its {what} is gone" if path else "no such model is registered here"
        raise ValueError(
            f"Unknown model {model_string!r}: {reason}{f' ({path})' if path else ''}. "
            f"Name the model's {what} once, as programs.lms.lm('{kind}/<{what}>'), or make it again."
        )
    model = opened(path)
    if model.model_string != model_string:
        raise ValueError(f"{path} holds {model.model_string!r} by now, not {model_string!r}; make that one again or name this one.")
    with _lock:
        _registered[model_string] = path
    return model


def known_path(model_string: str) -> Path | None:
    """Where the model was when it was registered; None if nobody did."""
    with _lock:
        path = _registered.get(model_string)
    if path is None:
        known = read_index(home() / "artifacts.json").get(model_string)
        path = Path(known) if known else None
    return path


def offer(model_string: str, path: Path) -> None:
    """Let this process look for a model at `path` too, if it knows no other place; what is there is checked when it is looked for."""
    known = known_path(model_string)
    if (known is None or not known.exists()) and path.exists():
        with _lock:
            _registered[model_string] = path


@contextmanager
def folder_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock that belongs to `path` against other processes and threads.

    Args:
        path: A file or folder.
        waiting: Called before a wait for another process that has the lock.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writable(target: Path) -> Iterator[None]:
    """Turn what the file system refuses while `target` is made into a ValueError that says what helps."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{target} cannot be prepared ({error}). {FREE_SPACE}") from error


def sha256(path: Path) -> str:
    """The hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_name(name: Any, namespace: Any) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)) or namespace not in NAMESPACES:
        raise ValueError(
            f"Bad artifact name {namespace}/{name!r}: expected a namespace of {NAMESPACES} and a name of letters, digits, . _ and -."
        )


def _check_manifest(manifest: Any) -> None:
    """Refuse a manifest that `publish` would not write; it may come from anywhere.

    Raises:
        ValueError: A bad name.
        KeyError, TypeError, AttributeError: Another shape.
    """
    _check_name(manifest["name"], manifest["namespace"])
    for entry in manifest["files"].values():
        if not isinstance(entry["sha256"], str) or not isinstance(entry["bytes"], int):
            raise TypeError(f"a file's entry is {entry!r}")
    adapter = manifest.get("adapter")
    if not isinstance(adapter, str | None):
        raise TypeError(f"adapter is {adapter!r}")
    if not isinstance(manifest.get(MERGE_INTO), str | None):
        raise TypeError(f"{MERGE_INTO} is {manifest[MERGE_INTO]!r}")


def _share_alike(folder: Path) -> None:
    """Let whoever may read the manifest read the weights too; safetensors are written for their owner alone."""
    mode = (folder / MANIFEST).stat().st_mode & 0o666
    for path in _files(folder).values():
        path.chmod(path.stat().st_mode | mode)


def _content_hash(manifest: dict[str, Any]) -> str:
    content = {
        "files": {name: entry["sha256"] for name, entry in manifest["files"].items() if decides_answers(name)},
        **{key: manifest.get(key) for key in ("adapter", "template", "dtype")},
        # Models from before manifests had it keep their names.
        **{key: manifest[key] for key in ("prompts", MERGE_INTO) if key in manifest},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def decides_answers(name: str) -> bool:
    """Whether a file is part of what the model is; logs, training rows and the unmerged adapter are its history."""
    return "/" not in name and not name.endswith(".jsonl")


def _manifest(source: Path, name: str, namespace: str, extra: dict[str, Any]) -> dict[str, Any]:
    _refuse_pickles(source)
    files = {key: path for key, path in _files(source).items() if not _is_bystander(key)}
    if not any(key.endswith(".safetensors") for key in files):
        raise ValueError(f"{source} holds no .safetensors file; save the model with save_pretrained first.")
    template = files.get("chat_template.jinja")
    record = {
        "schema": SCHEMA,
        "name": name,
        "namespace": namespace,
        "files": {key: {"sha256": sha256(path), "bytes": path.stat().st_size} for key, path in sorted(files.items())},
        "dtype": _dtype(source / "config.json"),
        "template": sha256(template) if template else None,
        "versions": installed_versions(*_LIBRARIES),
    }
    if clash := sorted(set(extra) & set(record)):
        raise ValueError(f"publish writes the manifest's {clash[0]!r} itself; leave it out.")
    return record | extra


def _dtype(config: Path) -> str | None:
    if not config.exists():
        return None
    values = json.loads(config.read_text())
    return values.get("dtype") or values.get("torch_dtype")


@functools.cache
def installed_versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    installed = {}
    for package in packages:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _keep_existing(source: Path, target: Path, wanted: str) -> Artifact:
    existing = open_artifact(target)
    if existing.hash != wanted:
        raise ValueError(f"{target} already holds another model ({existing.model_string}); choose another folder, artifacts never change.")
    shutil.rmtree(source)
    return existing


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST}


def _is_bystander(name: str) -> bool:
    # The hub's downloads keep their book in that folder.
    return name.lower() in _BYSTANDERS or name.startswith(".cache/huggingface/")


def _refuse_pickles(folder: Path) -> None:
    for name, path in _files(folder).items():
        if path.suffix.lower() in _PICKLES:
            raise ValueError(f"{folder / name} is a pickle, which can run code when loaded; convert it to safetensors and remove it.")


def _verify(folder: Path, manifest: dict[str, Any]) -> None:
    files = _files(folder)
    seen = tuple(sorted((name, path.stat().st_mtime_ns, path.stat().st_size) for name, path in files.items()))
    fingerprint = (_content_hash(manifest), seen)
    with _lock:
        if _verified.get(folder) == fingerprint:
            return
        _refuse_pickles(folder)
        _compare(folder, files, manifest["files"])
        _verified[folder] = fingerprint


def _compare(folder: Path, files: dict[str, Path], expected: dict[str, dict[str, Any]]) -> None:
    advice = "the artifact was tampered with or damaged; restore it or make it again."
    for name, entry in expected.items():
        if name not in files:
            raise ValueError(f"{folder / name} is missing: {advice}")
        if files[name].stat().st_size != entry["bytes"] or sha256(files[name]) != entry["sha256"]:
            raise ValueError(f"{folder / name} differs from its hash in {MANIFEST}: {advice}")
    for name in sorted(set(files) - set(expected)):
        if not _is_bystander(name):
            raise ValueError(f"{folder / name} is not in {MANIFEST}: {advice}")


def read_index(index: Path) -> dict[str, Any]:
    """A table on disk, such as the paths of models by model string; empty where there is none."""
    try:
        return dict(json.loads(index.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def write_json(path: Path, value: Any) -> None:
    """Write a value as a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    os.replace(partial, path)
