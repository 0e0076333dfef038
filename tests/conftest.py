"""Fixtures for all tests; `tests/scripted.py` is importable from everywhere."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from optimizers.reports import figures
from programs.lms import artifacts, embedded, engine
from programs.lms.artifacts import Artifact

sys.path.insert(0, str(Path(__file__).parent))
from forked_training import ForkedTraining


def _keep_to_own_cores() -> None:
    """Give each worker of pytest-xdist its share of the cores: threads of two workers on one core wait for each other at every step."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        number, workers, cores = (
            int(worker.removeprefix("gw")),
            int(os.environ["PYTEST_XDIST_WORKER_COUNT"]),
            sorted(os.sched_getaffinity(0)),
        )
        os.sched_setaffinity(0, cores[number % len(cores) :: workers])


_keep_to_own_cores()


@pytest.fixture(autouse=True)
def forked_trainings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """See `forked_training`."""
    if not any(map(request.node.get_closest_marker, ("own_process", "slow", "long"))):
        monkeypatch.setattr("optimizers.finetune.train.start_trainer", ForkedTraining)


@pytest.fixture(autouse=True)
def small_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn once, and coarsely, where nobody looks at them: four sharp forms are half the time of a tiny job."""
    if not any(map(request.node.get_closest_marker, ("whole_figures", "slow", "long"))):
        monkeypatch.setattr(figures, "DOTS", 30)
        monkeypatch.setattr(figures, "forms", lambda figure: (figures.png(figure),) * 4)


@pytest.fixture(scope="session")
def base() -> Artifact:
    """The embedded base; prepared once a machine, as for users."""
    return embedded.base_artifact()


@pytest.fixture(scope="session")
def tiny(base: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A model with random weights that writes a token in a millisecond, with the tokenizer of the embedded one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    settings = json.loads((base.folder / "config.json").read_text())
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    torch.manual_seed(0)
    # Wide logits: near ties would make the comparison of batches a matter of rounding.
    config = LlamaConfig(**(settings | small | {"initializer_range": 0.5, "max_position_embeddings": 256}))
    LlamaForCausalLM(config).save_pretrained(folder / "source")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base.folder / name, folder / "source" / name)
    # Else each model that is unloaded has the collector walk through torch and transformers, which takes a second.
    gc.freeze()
    return artifacts.publish(folder / "source", folder / "tiny", name="tiny", adapter="line-terse", base="random")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, so that the tests write into nobody's."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tiny_model(tiny: Artifact, home: Path, monkeypatch: pytest.MonkeyPatch):
    """The model string of `tiny`, on the reference backend; unloaded at the end."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "transformers")
    yield artifacts.register(tiny)
    engine.unload_all()


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The folder with samples of socratic GSM8K and of DROP; see its README.md."""
    return Path(__file__).parent / "data"


@pytest.fixture
def here(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    """A working directory with a folder of each kind of job, as an earlier version left them; nobody answers for the teacher."""
    with tarfile.open(Path(__file__).parent / "recorded" / "folders.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "transformers")
    yield tmp_path
    engine.unload_all()
