"""Where a student comes from, as far as it is known: its base and its teacher on the hub, and what each may be used under."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from programs.lms import embedded
from programs.lms.artifacts import Artifact, find
from programs.lms.model_strings import is_local
from programs.lms.weights import WEIGHTS

_ON_HUB = re.compile(r"hf/(?P<name>[\w.-]+/[\w.-]+)")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_APACHE = "apache-2.0"
_DEEPEST = 20


class ModelOrigin(NamedTuple):
    """Where a model comes from.

    Attributes:
        shown: How to speak of it: its model string, without its hash.
        hub: Its name on the Hugging Face hub; empty where it is not known.
        license: As the hub writes it; empty where it is not known.
        note: How it differs from what the hub has under that name; empty where it does not.
    """

    shown: str
    hub: str = ""
    license: str = ""
    note: str = ""


def is_hub_name(name: str) -> bool:
    """Whether it has the form of a name on the hub, `organisation/name`."""
    return bool(_ID.fullmatch(name))


def model_origin(model: str) -> ModelOrigin:
    """What is known of a model string."""
    name = model.partition("@")[0]
    on_hub = _ON_HUB.match(model)
    if on_hub:
        return ModelOrigin(name, on_hub["name"])
    if name.startswith("embedded/"):
        note = "from the Q4_1 file of its weights" + ("" if name == "embedded/base" else f", with the adapter of {name} merged in")
        return ModelOrigin(name, embedded.BASE_MODEL, _APACHE, note)
    if name.startswith("gguf/"):
        return _of_weights(model, name)
    # Behind an API it is known by its name alone; a folder of somebody's machine is nobody else's business.
    return ModelOrigin(name if not is_local(model) else f"local/{name.rpartition('/')[2]}")


def _of_weights(model: str, name: str) -> ModelOrigin:
    shown, digest = f"gguf/{name.rpartition('/')[2]}", model.partition("@")[2]
    for known, weights in WEIGHTS.items():
        if name == f"gguf/{known}" or (digest and weights.sha256.startswith(digest)):
            license = weights.licence.partition(",")[0].lower()
            return ModelOrigin(shown, weights.repository, license, f"from the file {weights.file}")
    return ModelOrigin(shown)


def base_origin(artifact: Artifact) -> ModelOrigin:
    """Where the model comes from that a student was trained from, through students that were trained from students."""
    base = str(artifact.manifest.get("base") or "")
    for _ in range(_DEEPEST):
        if not base.startswith("local/"):
            break
        found = _manifest_base(base)
        if not found:
            break
        base = found
    return model_origin(base) if base else ModelOrigin("not recorded")


def _manifest_base(model: str) -> str:
    """What a model of this machine says that it was made from; empty where it is gone, or says nothing that is a model."""
    try:
        manifest: Mapping[str, Any] = find(model, verify=False).manifest
    except ValueError:
        return ""
    base = str(manifest.get("base") or "")
    return base if is_local(base) else ""
