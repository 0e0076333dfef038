"""The files of a repository, as they go to the hub or to a folder that shows them first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optimizers.sharing.dataset import parts_of
from optimizers.sharing.dataset_cards import dataset_card
from optimizers.sharing.export import write_tables
from optimizers.sharing.model_cards import model_card
from optimizers.sharing.origins import base_origin
from optimizers.sharing.shared_run import SharedRun
from programs.lms.artifacts import MANIFEST, MERGE_INTO, Artifact, decides_answers, publish, sha256
from programs.lms.gguf import export as export_gguf
from programs.lms.merged import adapter_of, merged_into, write_merged
from programs.lms.trained_prompts import KEY, manifest_entry, prompts_of

CARD = "README.md"
WEIGHTS = ("merged", "adapter")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer.model")


@dataclass(frozen=True)
class Bundle:
    """What a repository is to hold.

    Attributes:
        kind: `model` or `dataset`.
        files: Path in the repository -> a file of this machine, or the bytes themselves.
    """

    kind: Literal["model", "dataset"]
    files: Mapping[str, Path | bytes]

    def write(self, folder: Path) -> None:
        """Write the files below a folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Copied, never linked: whoever looks at them may change them, and the run's own are to stay.
            path.write_bytes(content) if isinstance(content, bytes) else shutil.copyfile(content, path)


def student_bundle(
    run: SharedRun, student: str, work: Path, *, repo: str, weights: str = "merged", gguf: bool = False, license: str = "",
    base_model: str = "", data_repo: str = "",
) -> Bundle:  # fmt: skip
    """A student with its card.

    Of the artifact what an answer depends on goes along, with a manifest of that: the download is the same model, under the
    same name. Its training rows are those of the data set.

    Args:
        run: The run.
        student: See `SharedRun.student`.
        work: An empty folder for files that are made for this.
        repo: Its name on the hub.
        weights: `merged`, or `adapter`.
        gguf: Whether to add `gguf/model.gguf`, and a Modelfile.
        license: See `model_card`.
        base_model: See `model_card`.
        data_repo: See `model_card`.

    Raises:
        ValueError: An adapter that there is not, or whose base on the hub is not known; a model that cannot be a GGUF; or as of
            `model_card`.
    """
    chosen = run.student(student)
    artifact = run.artifact(chosen)
    extra = _gguf_files(artifact, work) if gguf else {}
    if weights == "adapter":
        files = _adapter_files(artifact, base_model)
    else:
        artifact = _whole(artifact, work)
        files = {name: artifact.folder / name for name in artifact.manifest["files"] if decides_answers(name)}
        files[MANIFEST] = _manifest(artifact, extra)
    card = model_card(
        run.folder, chosen.label, repo=repo, weights=weights, license=license, base_model=base_model, data_repo=data_repo, gguf=gguf
    )
    return Bundle("model", {CARD: str(card).encode(), **files, **extra})


def data_bundle(run: SharedRun, work: Path, *, repo: str, license: str = "", model_repo: str = "", format: str = "parquet") -> Bundle:
    """A run's data set with its card.

    Args:
        run: The run.
        work: An empty folder for the tables.
        repo: Its name on the hub.
        license: See `dataset_card`.
        model_repo: See `dataset_card`.
        format: `parquet` or `jsonl`.

    Raises:
        ValueError: There is nothing of a teacher in the run.
    """
    write_tables(parts_of(run), work, format)
    card = dataset_card(run.folder, repo=repo, license=license, model_repo=model_repo, format=format)
    return Bundle("dataset", {CARD: str(card).encode(), **{path.name: path for path in sorted(work.iterdir())}})


def _gguf_files(artifact: Artifact, work: Path) -> dict[str, Path | bytes]:
    return {f"gguf/{path.name}": path for path in export_gguf(artifact, work / "model.gguf")}


def _whole(artifact: Artifact, work: Path) -> Artifact:
    """A model that needs no base: for an adapter its merged one, which is another content and so has another hash."""
    if not merged_into(artifact):
        return artifact
    write_merged(artifact, work / "merged")
    made_here = {"schema", "name", "namespace", "files", "dtype", "template", "versions", MERGE_INTO}
    further = {**manifest_entry(prompts_of(artifact)), **artifact.manifest}
    kept = {key: value for key, value in further.items() if key not in made_here}
    return publish(work / "merged", work / "whole", name=artifact.name, **kept)


def _manifest(artifact: Artifact, extra: Mapping[str, Path | bytes]) -> bytes:
    """The artifact's manifest, of the files that go along: its hash, and so its model string, stays the same."""
    files = {name: entry for name, entry in artifact.manifest["files"].items() if decides_answers(name)}
    for name, path in extra.items():
        if isinstance(path, Path):
            files[name] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    # Without its rows nothing else would say how a student of an early version was asked.
    prompts = {} if KEY in artifact.manifest else manifest_entry(prompts_of(artifact))
    return json.dumps({**artifact.manifest, **prompts, "files": files}, indent=1, sort_keys=True).encode() + b"\n"


def _adapter_files(artifact: Artifact, base_model: str) -> dict[str, Path | bytes]:
    folder = adapter_of(artifact)
    if folder is None:
        raise ValueError(f"{artifact.folder} has no LoRA adapter: it was trained whole. Leave out --weights adapter.")
    base = base_origin(artifact)
    name = base_model or ("" if base.hub.endswith("-GGUF") else base.hub)
    if not name:
        raise ValueError(f"The adapter's base {base.shown} is not known on the hub, where it is loaded from: --base-model OWNER/NAME.")
    # peft wrote the folder of this machine that the base lay in.
    saved = json.loads((folder / _ADAPTER[0]).read_text())
    revision = saved.get("revision") if saved["base_model_name_or_path"] == name else None
    config = {**saved, "base_model_name_or_path": name, "revision": revision}
    tokenizer = {file: artifact.folder / file for file in _TOKENIZER if (artifact.folder / file).is_file()}
    return {_ADAPTER[0]: json.dumps(config, indent=2, sort_keys=True).encode() + b"\n", _ADAPTER[1]: folder / _ADAPTER[1], **tokenizer}
