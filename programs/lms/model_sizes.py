"""How large a model of this machine is, for plans."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

from programs.lms.merged import merged_into
from programs.lms.model_strings import resolve, resolve_gguf

EMBEDDED = 134_515_008
"""Parameters of the embedded models, which the speeds of plans are stated for."""


def relative_size(model: str) -> float:
    """Parameters of a model in this process, as a multiple of those of an embedded one; 1.0 where they are not known without a download.

    Args:
        model: A model string.

    Raises:
        ValueError: A file or folder that is not there, or that no model can be read from.
    """
    if model.startswith("gguf/"):
        found = resolve_gguf(model)
        return found.parameters / EMBEDDED if found else 1.0
    artifact = resolve(model) if model.startswith("local/") else None
    if artifact and (base := merged_into(artifact)):
        return relative_size(base)
    return sum(map(_parameters, artifact.folder.glob("*.safetensors"))) / EMBEDDED if artifact else 1.0


def _parameters(file: Path) -> int:
    """Numbers in a safetensors file, by its header alone."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
