"""Artifacts that are an adapter alone: the whole model that each stands for, made where it is needed."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs.lms import artifacts, weights
from programs.lms.artifacts import MERGE_INTO, Artifact
from programs.lms.gguf_models import GGUFModel
from programs.lms.gguf_prepared import weights_folder
from programs.lms.lora import merge_adapter
from programs.lms.made_once import made_once
from programs.lms.model_strings import source

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def merged_into(artifact: Artifact) -> str | None:
    """Model string of the base that an artifact is an adapter of; None for a whole model."""
    return artifact.manifest.get(MERGE_INTO)


def adapter_of(artifact: Artifact) -> Path | None:
    """Folder of the LoRA adapter that a student was trained as, be it saved alone or beside its merged model; None where there is none."""
    folder = artifact.folder if merged_into(artifact) else artifact.folder / "adapter"
    return folder if all((folder / name).is_file() for name in _ADAPTER) else None


def whole_folder(artifact: Artifact) -> Path:
    """The folder with all weights of an artifact: its own, or for an adapter that of its merged model.

    That one is made once, in `merged/` under the models' home, and may be removed at any time.

    Raises:
        ValueError: The base of an adapter is gone or is another model by now, or no space.
    """
    if not merged_into(artifact):
        return artifact.folder
    return made_once(_merged_at(artifact), lambda target: write_merged(artifact, target))


@contextmanager
def whole_for_now(artifact: Artifact) -> Iterator[Path]:
    """As `whole_folder`, for one reading: a merged model that nobody made yet is removed again.

    Raises:
        ValueError: As `whole_folder`.
    """
    if not merged_into(artifact) or _merged_at(artifact).exists():
        yield whole_folder(artifact)
        return
    artifacts.home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=artifacts.home()) as folder:
        target = Path(folder) / artifact.name
        with artifacts.writable(target):
            write_merged(artifact, target)
        yield target


def write_merged(artifact: Artifact, target: Path) -> None:
    """Write the merged model of an adapter, as training would have: merged in float32, saved in the artifact's number format.

    Args:
        artifact: An adapter.
        target: Folder of safetensors, config and tokenizer; made if it is not there.

    Raises:
        ValueError: The base is gone or is another model by now.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = base_folder(artifact)
    weights.told(f"Merging {artifact.model_string} into its base {merged_into(artifact)}, below {artifacts.home()}.")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        # What peft asks of transformers is to go in a later version.
        warnings.simplefilter("ignore", FutureWarning)
        merged = merge_adapter(PeftModel.from_pretrained(model, str(artifact.folder)))
    merged.to(getattr(torch, artifact.manifest["dtype"] or "float32")).save_pretrained(target)
    for name in artifact.manifest["files"]:
        # The tokenizer, and whatever else a training left beside it.
        if artifacts.decides_answers(name) and name not in _ADAPTER and not (target / name).exists():
            shutil.copyfile(artifact.folder / name, target / name)


def base_folder(artifact: Artifact) -> Path:
    """The folder with the weights that an adapter is merged into.

    Raises:
        ValueError: The base is gone or is another model by now; names the student, and the base with its hash.
    """
    base = merged_into(artifact)
    assert base is not None
    try:
        found: Any = source(base)
    except ValueError as error:
        raise ValueError(
            f"{artifact.model_string} is an adapter alone, and its base {base} is needed to run it. {error} Bring that very model back; or "
            "train the student again, with training.save_weights 'merged' to need no base."
        ) from error
    if isinstance(found, GGUFModel):
        return weights_folder(found)
    return whole_folder(found) if isinstance(found, Artifact) else found


def _merged_at(artifact: Artifact) -> Path:
    # A GGUF file bears the name of the folder that it is made of.
    return artifacts.home() / "merged" / artifact.hash / artifact.name
