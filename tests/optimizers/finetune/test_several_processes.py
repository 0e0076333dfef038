"""A training in two processes is that of one with batches of twice the rows: accelerate's data parallelism, on CPUs."""

import json

import pytest

from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import TrainingStopped, train
from programs.lms.artifacts import open_artifact

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Where is {n}? " * (1 + n % 3)},
            {"role": "assistant", "content": f"In Rome {n}. " * (1 + n % 4)},
        ]
    }
    for n in range(32)
]


def trained(tiny, folder, **settings):
    common = {"max_steps": 6, "threads": 1, "device": "cpu", "warmup_steps": 0, "save_dtype": "float32", "learning_rate": 1e-2}
    spec = TrainingSpec(base=str(tiny.folder), **{**common, **settings})
    return train(ROWS, spec, folder, name="s", adapter="line", base="tiny", dev_rows=ROWS[:4])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_two_processes_are_one_with_twice_the_batch(tiny, home, tmp_path, monkeypatch, method):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    one = trained(tiny, tmp_path / "one", batch_size=8, method=method)
    two = trained(tiny, tmp_path / "two", batch_size=4, processes=2, method=method)
    losses = [[line["loss"] for line in read_progress(artifact.folder) if "loss" in line] for artifact in (one, two)]
    assert len(losses[0]) == len(losses[1]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[0][-1] < losses[0][0]
    ends = [artifact.manifest["metrics"] for artifact in (one, two)]
    assert ends[1]["last_dev_loss"] == pytest.approx(ends[0]["last_dev_loss"], rel=1e-3)
    assert (ends[0]["steps"], ends[0]["rows"]) == (ends[1]["steps"], ends[1]["rows"]) == (6, 32)


@pytest.mark.slow
def test_two_processes_that_are_stopped_go_on_from_a_checkpoint(tiny, home, tmp_path):
    def begun():
        return bool(read_progress(tmp_path / "s.work"))

    def again(**options):
        spec = TrainingSpec(base=str(tiny.folder), max_steps=60, threads=1, device="cpu", batch_size=4, processes=2)
        return train(ROWS, spec, tmp_path / "s", name="s", adapter="line", base="tiny", **options)

    with pytest.raises(TrainingStopped):
        again(cancelled=begun)
    done = max(line["step"] for line in read_progress(tmp_path / "s.work"))
    assert done < 60
    (checkpoint,) = (tmp_path / "s.work" / "checkpoints").glob("checkpoint-*")
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == done
    artifact = again()
    assert open_artifact(tmp_path / "s").hash == artifact.hash
    steps = [line["step"] for line in read_progress(artifact.folder) if "loss" in line]
    assert steps == sorted(set(steps)) and steps[-1] == 60
