"""A training that is launched with a file of `accelerate config`, on CPUs; and files that it would not be what they say with."""

import pytest
import yaml

from optimizers import TrainingSpec
from optimizers.experiments.plan_view import plan
from optimizers.finetune.bases import check_installed
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.several_processes import check_gpus, processes_of, read_accelerate_config
from optimizers.finetune.train import train
from optimizers.settings.load import load_config

CPUS = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "MULTI_GPU",
    "num_machines": 1,
    "num_processes": 2,
    "use_cpu": True,
    "mixed_precision": "no",
}
SHARDED = {**CPUS, "distributed_type": "FSDP", "use_cpu": False, "fsdp_config": {"fsdp_version": 2}}
_FILE, PLANNED = "training.accelerate_config", {"task": "kinship", "teacher.model": "embedded/teacher"}
ROWS = [
    {"messages": [{"role": "user", "content": f"Where is {n}? " * (1 + n % 3)}, {"role": "assistant", "content": f"In Rome {n}."}]}
    for n in range(16)
]


def written(path, **values):
    path.write_text(yaml.safe_dump(values))
    return str(path)


def trained(tiny, folder, **settings):
    common = {"max_steps": 3, "threads": 1, "device": "cpu", "warmup_steps": 0, "save_dtype": "float32", "learning_rate": 1e-2}
    spec = TrainingSpec(base=str(tiny.folder), **{**common, **settings})
    return train(ROWS, spec, folder, name="s", adapter="line", base="tiny", dev_rows=ROWS[:4])


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.slow)])
def test_a_launched_training_is_that_of_one_process(tiny, home, tmp_path, monkeypatch, processes):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_DTYPE", "float32")
    file = written(
        tmp_path / "accelerate.yaml", **{**CPUS, "num_processes": processes, "distributed_type": ["NO", "MULTI_GPU"][processes - 1]}
    )
    one = trained(tiny, tmp_path / "one", batch_size=8)
    # Parts of different numbers in the two processes, whose gradients meet once a step.
    launched = trained(tiny, tmp_path / "launched", batch_size=8 // processes, accelerate_config=file, microbatch_tokens=60)
    losses = [[line["loss"] for line in read_progress(artifact.folder) if "loss" in line] for artifact in (one, launched)]
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], rel=1e-3)
    ends = [artifact.manifest["metrics"] for artifact in (one, launched)]
    assert ends[1]["last_dev_loss"] == pytest.approx(ends[0]["last_dev_loss"], rel=1e-3)
    # Another file under the same name is another training, and the same one elsewhere is not.
    moved = written(tmp_path / "moved.yaml", **yaml.safe_load((tmp_path / "accelerate.yaml").read_text()))
    again = trained(tiny, tmp_path / "launched", batch_size=8 // processes, accelerate_config=moved)
    assert again.hash == launched.hash
    written(tmp_path / "accelerate.yaml", **{**CPUS, "num_processes": 2, "main_process_port": 29511})
    with pytest.raises(ValueError, match="other rows or settings"):
        trained(tiny, tmp_path / "launched", batch_size=8 // processes, accelerate_config=file)


def test_processes_are_those_of_the_file(tmp_path):
    file = written(tmp_path / "a.yaml", **{**CPUS, "num_processes": 3})
    assert processes_of(TrainingSpec(accelerate_config=file)) == 3
    assert processes_of(TrainingSpec(processes=2)) == 2
    launch = read_accelerate_config(written(tmp_path / "b.yaml", **SHARDED))
    assert (launch.kind, launch.processes, launch.is_sharded) == ("FSDP", 2, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**CPUS, "num_machines": 2}, "num_machines 2, and trainings run on one machine"),
        ({**CPUS, "compute_environment": "AMAZON_SAGEMAKER"}, "accelerate cannot read|compute_environment AMAZON_SAGEMAKER"),
        ({**CPUS, "distributed_type": "NO"}, "num_processes 2 and distributed_type NO, of which accelerate would start one process"),
        ({**CPUS, "distributed_type": "MULTI_CPU"}, "MULTI_CPU, of which accelerate would start one process"),
        ({**CPUS, "distributed_type": "nosuch"}, "accelerate cannot read"),
        ({**CPUS, "nosuch": 1}, "accelerate cannot read"),
        ({**SHARDED, "use_cpu": True}, "would shard nothing: set MULTI_GPU"),
    ],
)
def test_files_that_would_launch_something_else(tmp_path, values, message):
    file = written(tmp_path / "accelerate.yaml", **values)
    with pytest.raises(ValueError, match=message) as refused:
        check_installed(TrainingSpec(accelerate_config=file))
    assert "training.accelerate_config" in str(refused.value) and file in str(refused.value)


@pytest.mark.parametrize("kind", ["MULTI_GPU", "FSDP"])
def test_a_launch_on_gpus_that_are_not_there_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 1)
    file = written(tmp_path / "accelerate.yaml", **{**CPUS, "distributed_type": kind, "use_cpu": False})
    for check in (lambda: check_gpus(TrainingSpec(accelerate_config=file)), lambda: plan(load_config(None, {**PLANNED, _FILE: file}))):
        with pytest.raises(ValueError, match=rf"num_processes 2 and distributed_type {kind}.*this machine has 1 "):
            check()
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    check_gpus(TrainingSpec(accelerate_config=file))


def test_an_empty_file(tmp_path):
    (tmp_path / "a.yaml").write_text("\n")
    with pytest.raises(ValueError, match=r"a\.yaml is empty"):
        read_accelerate_config(str(tmp_path / "a.yaml"))


def test_a_model_in_shards_has_no_base_beside_it(tmp_path):
    file = written(tmp_path / "accelerate.yaml", **SHARDED)
    check_installed(TrainingSpec(accelerate_config=file))
    with pytest.raises(ValueError, match=r"training.kl_weight=0.1 needs the whole model"):
        check_installed(TrainingSpec(accelerate_config=file, kl_weight=0.1))


def test_no_yaml(tmp_path):
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(ValueError, match="accelerate cannot read"):
        read_accelerate_config(str(tmp_path / "a.yaml"))
