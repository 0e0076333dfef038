"""The commands by which others serve an exported model: Ollama, llama.cpp and vLLM."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from programs.lms.artifacts import Artifact
from programs.lms.checkpoints import plain_name
from programs.lms.gguf import MODELFILE, TEMPLATE
from programs.lms.merged import whole_folder
from programs.lms.modelfile import REPLY_TOKENS


def commands(artifact: Artifact, written: Sequence[Path]) -> dict[str, list[str]]:
    """Name of a server -> the commands, to be pasted into a shell; all take the likeliest token where a client says nothing.

    Source: docs/modelfile.mdx of Ollama, tools/server/README.md of llama.cpp, `vllm serve --help`.

    Args:
        artifact: The model; one that is an adapter alone is merged for vLLM in a folder under the models' home.
        written: What `programs.lms.gguf.export` wrote for it.
    """
    files = {path.suffix: path.resolve() for path in written}
    gguf, modelfile, template = written[0].resolve(), files.get(MODELFILE), files.get(TEMPLATE)
    name = plain_name(gguf.stem).lower()
    found = {"llama.cpp": [["llama-server", "-m", str(gguf), "--jinja", "--temp", "0", "-n", str(REPLY_TOKENS)]]}
    if modelfile:
        found["Ollama"] = [["ollama", "create", name, "-f", str(modelfile)], ["ollama", "run", name]]
    merged = ["vllm", "serve", str(whole_folder(artifact)), "--served-model-name", artifact.name]
    own_form = ["--chat-template", str(template)] if template else []
    found["vLLM"] = [[*merged, *own_form, "--override-generation-config", '{"temperature": 0}']]
    return {server: [shlex.join(line) for line in lines] for server, lines in sorted(found.items(), key=lambda item: item[0].lower())}
