"""Model strings: which model one names, where its files are, and the hash that pins it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy

from programs.lms import artifacts, embedded
from programs.lms.artifacts import Artifact
from programs.lms.checkpoints import open_model
from programs.lms.gguf_models import GGUFModel, open_gguf
from programs.lms.known_weights import WEIGHTS
from programs.lms.meant_models import meant, step_for
from programs.lms.weights import fetched

LOCAL_PREFIXES = ("embedded", "local", "gguf", "hf")

LOCAL_FORMS = (
    "embedded/base, embedded/teacher, embedded/strict, local/<folder>, local/<name>@<hash>, gguf/<file>, gguf/<name>@<hash>, "
    f"{', '.join(f'gguf/{name}' for name in WEIGHTS)}, hf/<organisation>/<name>"
)
"""Of models that run in this process."""

FORMS = f"{LOCAL_FORMS}, or a provider of LiteLLM such as openai/<model>, anthropic/<model>, hosted_vllm/<model>, ollama/<model>"

_PINNED = re.compile(r"(?P<namespace>embedded|local|gguf)/[A-Za-z0-9._-]+@[0-9a-f]{12}")

_HUB = re.compile(r"hf/(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?")

_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]


def is_local(model: str) -> bool:
    """Whether the model runs in this process."""
    return model.partition("/")[0] in LOCAL_PREFIXES and "/" in model


def pinned(model: str) -> str:
    """The model string with the hash or revision of what it names at the moment."""
    here = _here(model)
    if here:
        return here.model_string
    return _pinned_on_hub(model) if model.startswith("hf/") else model


def check_local(model: str) -> None:
    """Refuse a model of this process that cannot be there; embedded ones are not prepared, and the hub is not asked.

    Raises:
        ValueError: No such embedded model, folder or file, or not of the form of a name on the hub.
    """
    prefix, _, rest = model.partition("/")
    if prefix == "hf":
        _hub_parts(model)
    elif prefix != "embedded" or rest.partition("@")[0] not in embedded.MODELS:
        _here(model)


def resolve(model: str) -> Artifact | None:
    """The artifact behind a model string; None for GGUF files, Hugging Face models and those behind an API.

    A plain checkpoint folder is an artifact too, which nobody here trained.

    Raises:
        ValueError: An embedded or local model that does not exist.
    """
    prefix, _, rest = model.partition("/")
    if prefix not in ("embedded", "local"):
        return None
    if prefix == "embedded" and rest in embedded.MODELS:
        return embedded.MODELS[rest]()
    if _PINNED.fullmatch(model):
        return _find(model)
    if prefix == "embedded" or not rest:
        raise ValueError(f"Unknown model {model!r}; expected {LOCAL_FORMS}.")
    if not Path(rest).expanduser().is_dir():
        raise ValueError(f"Unknown model {model!r}: {rest!r} is no folder; expected {LOCAL_FORMS}.{step_for(rest)}")
    artifact = open_model(rest)
    if artifact.manifest["namespace"] == "embedded" and artifact.folder.parent != (artifacts.home() / "embedded").resolve():
        raise ValueError(
            f"{rest} calls itself {artifact.model_string}, a name kept for the models that come with the package; name those as "
            f"{[f'embedded/{name}' for name in embedded.MODELS]}, or publish this one in the namespace 'local'."
        )
    artifacts.register(artifact)
    return artifact


def resolve_gguf(model: str) -> GGUFModel | None:
    """The GGUF file behind a model string, which may be a name of `WEIGHTS`; None for all other models.

    Raises:
        ValueError: There is no such file, or none that is a chat model; see `open_gguf`.
    """
    prefix, _, rest = model.partition("/")
    if prefix != "gguf":
        return None
    if _PINNED.fullmatch(model) and not Path(rest).is_file():
        return artifacts.find_by(model, open_gguf)
    if rest in WEIGHTS and not Path(rest).is_file():
        rest = str(fetched(rest))
    if not rest or not Path(rest).expanduser().is_file():
        beside = _files_beside(Path(rest).expanduser()) if rest else ""
        raise ValueError(f"Unknown model {model!r}: {rest!r} is no file{beside}; expected {LOCAL_FORMS}.{step_for(rest)}")
    found = open_gguf(rest)
    artifacts.register(found)
    return found


def source(model: str) -> Artifact | GGUFModel | Path:
    """What a backend loads for a model string: an artifact, a GGUF file, or the folder of a Hugging Face model.

    Raises:
        ValueError: Not a model that runs in this process.
    """
    here = _here(model)
    if here:
        return here
    if not model.startswith("hf/"):
        raise ValueError(f"{model!r} does not run in this process; expected one of the prefixes {LOCAL_PREFIXES}.")
    repo, revision = _hub_parts(model)
    return Path(_from_hub(model, repo, revision, "snapshot_download", allow_patterns=_HUB_FILES))


def adapter_name_for(lm: dspy.LM) -> str:
    """The prompt format for an LM: what its artifact was trained on, `line` for all others."""
    return adapter_name_of(lm.model)


def adapter_name_of(model: str) -> str:
    """`adapter_name_for` by the model string alone."""
    artifact = resolve(model) if is_local(model) else None
    return (artifact.adapter if artifact else None) or "line"


def usual_adapter_name(model: str) -> str:
    """`adapter_name_of` for plans: an embedded model's by its name alone, as looking for it would prepare its weights."""
    prefix, _, rest = model.partition("/")
    return embedded.ADAPTERS[rest.partition("@")[0]] if prefix == "embedded" else adapter_name_of(model)


def _here(model: str) -> Artifact | GGUFModel | None:
    """What a model string names on this machine."""
    return resolve_gguf(model) or resolve(model)


def _files_beside(path: Path) -> str:
    """The GGUF files in the folder that was named, or in that of the file that was."""
    folder = path if path.is_dir() else path.parent
    names = [file.name for file in sorted(folder.glob("*.gguf"))]
    return f" ({folder} has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""


def _find(model: str) -> Artifact:
    """A pinned model; the embedded ones are prepared where they are not there yet."""
    try:
        return artifacts.find_by(model, open_model)
    except ValueError:
        if not model.startswith("embedded/"):
            raise
        name = model.removeprefix("embedded/").partition("@")[0]
        artifact = resolve(f"embedded/{name}")
        if artifact is None or artifact.model_string != model:
            raise
        return artifact


def _hub_parts(model: str) -> tuple[str, str | None]:
    match = _HUB.fullmatch(model)
    if not match:
        raise ValueError(
            f"Unknown model {model!r}; a Hugging Face model is hf/<organisation>/<name>, with @<revision> behind it or not, a folder is "
            f"local/<folder>, a file gguf/<file>.{meant(model.removeprefix('hf/'))}"
        )
    return match["repo"], match["revision"]


def _pinned_on_hub(model: str) -> str:
    repo, revision = _hub_parts(model)
    config = _from_hub(model, repo, revision, "hf_hub_download", filename="config.json")
    return f"hf/{repo}@{Path(config).parent.name}"


def _from_hub(model: str, repo: str, revision: str | None, function: str, **options: Any) -> str:
    """A path in the hub's cache: downloaded, or as it was left by an earlier download."""
    import huggingface_hub

    get = functools.partial(getattr(huggingface_hub, function), repo, revision=revision, **options)
    there = _in_cache(get)
    try:
        if there is None:
            # Of what it does not have the library asks six times, which takes minutes where a firewall lets nothing through.
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "config.json", revision=revision))
        return str(get())
    except Exception as error:
        if there is not None:
            return there
        raise ValueError(
            f"Cannot get {model!r} from the Hugging Face hub ({error}). Check the name and the network; without one, use "
            f"embedded/base, or a folder as local/<folder>.{meant(repo)}"
        ) from error


def _in_cache(get: Callable[..., str]) -> str | None:
    """What a function of the library finds without asking the hub."""
    try:
        return str(get(local_files_only=True))
    except Exception:
        # A dozen unrelated kinds, as of all that it does.
        return None
