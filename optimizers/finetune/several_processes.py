"""A training in several processes, each with batches of its own: how they are launched, who speaks for all, and what they agree on.

As a program it is `torchrun`, or with `accelerate` as its first word `accelerate launch`; it ends with the process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from optimizers.finetune.spec import TrainingSpec
from optimizers.jobs.progress import end_with_parent

_ACCELERATE = "accelerate"
_ONE_PROCESS = ("NO", "MULTI_CPU")
"""Kinds of accelerate that its launcher starts one process of; those of MULTI_CPU are started by MPI."""

_ON_GPUS = ("MULTI_GPU", "FSDP", "DEEPSPEED")


def is_first() -> bool:
    """Whether this is the process that writes files, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def processes_here() -> int:
    """Processes of this training on this machine, of which each has its share of the cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in one of the processes: all have to stop at the same step, as each waits for the others' gradients."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        return flag
    told = torch.tensor(int(flag), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told.item())


def processes_of(spec: TrainingSpec) -> int:
    """Processes that a training takes, as its settings or its file of `accelerate config` say.

    Raises:
        ValueError: See `read_accelerate_config`.
    """
    return read_accelerate_config(spec.accelerate_config).processes if spec.accelerate_config else spec.processes


class Launch(NamedTuple):
    """What a file of `accelerate config` says.

    Attributes:
        kind: accelerate's distributed_type: NO, MULTI_GPU, FSDP, DEEPSPEED and so on.
        processes: How many.
        on_cpu: Whether the file says `use_cpu: true`.
    """

    kind: str
    processes: int
    on_cpu: bool

    @property
    def is_sharded(self) -> bool:
        """Whether no process holds the whole model."""
        return self.kind in ("FSDP", "DEEPSPEED")


def read_accelerate_config(file: str) -> Launch:
    """Check a file of `accelerate config`, as `accelerate launch` would fail on it late or start something else.

    Raises:
        ValueError: No such file, one that accelerate cannot read, or one for what is not done here; says what to do.
    """
    from accelerate.commands.config.config_args import load_config_from_file

    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"training.accelerate_config: there is no file {file!r}. `accelerate config --config_file {file}` writes one.")
    if not path.read_bytes().strip():
        raise ValueError(f"training.accelerate_config: {file} is empty. `accelerate config --config_file {file}` writes it anew.")
    try:
        found = load_config_from_file(str(path))
        kind = str(getattr(found.distributed_type, "value", found.distributed_type))
        launch = Launch(kind, int(found.num_processes or 1), bool(found.use_cpu))
    except Exception as error:
        # yaml, json and accelerate each have their own errors.
        raise ValueError(
            f"training.accelerate_config: accelerate cannot read {file} ({type(error).__name__}: {' '.join(str(error).split())}). "
            f"`accelerate config --config_file {file}` writes it anew."
        ) from error
    if trouble := _not_launched(found, launch):
        raise ValueError(f"training.accelerate_config: {file} has {trouble}.")
    return launch


def check_gpus(spec: TrainingSpec) -> None:
    """Refuse a launch with a GPU for each process where this machine has fewer: accelerate starts one process on the CPU, or fails late.

    Raises:
        ValueError: Names both numbers; also what `read_accelerate_config` refuses.
    """
    import torch

    if not (file := spec.accelerate_config):
        return
    launch = read_accelerate_config(file)
    if launch.kind not in _ON_GPUS or launch.on_cpu:
        return
    here = torch.accelerator.device_count()
    if here < launch.processes:
        raise ValueError(
            f"training.accelerate_config: {file} has num_processes {launch.processes} and distributed_type {launch.kind}, a GPU for each, "
            f"and this machine has {here} that PyTorch can use: set num_processes to what it has; on CPUs MULTI_GPU with use_cpu: true."
        )


def _not_launched(found: Any, launch: Launch) -> str:
    """Why a training is not launched with what a file says; empty where it is."""
    environment = str(getattr(found.compute_environment, "value", found.compute_environment))
    if environment != "LOCAL_MACHINE":
        return f"compute_environment {environment}, and trainings run on this machine: set LOCAL_MACHINE"
    if (getattr(found, "num_machines", 1) or 1) > 1:
        return f"num_machines {found.num_machines}, and trainings run on one machine: set 1"
    if launch.kind in _ONE_PROCESS and launch.processes > 1:
        return (
            f"num_processes {launch.processes} and distributed_type {launch.kind}, of which accelerate would start one process: "
            "set MULTI_GPU or FSDP; on CPUs MULTI_GPU with use_cpu: true"
        )
    if launch.is_sharded and found.use_cpu:
        return f"distributed_type {launch.kind} and use_cpu: true, for which accelerate would shard nothing: set MULTI_GPU"
    if launch.kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        return "distributed_type DEEPSPEED, which is not installed: pip install deepspeed"
    return ""


def launch_arguments(module: str, work: Path, processes: int, accelerate_config: str | None = None) -> list[str]:
    """Arguments of this module, run as a program, by which it starts a training.

    Args:
        module: The trainer's.
        work: Folder of the job.
        processes: How many, where there is no file.
        accelerate_config: File of `accelerate config`, if there is one.
    """
    trainer = ["-m", module, str(work)]
    if accelerate_config:
        return [_ACCELERATE, "--config_file", str(Path(accelerate_config).expanduser().resolve()), *trainer]
    return ["--standalone", "--nproc-per-node", str(processes), *trainer]


def _launch(arguments: list[str]) -> None:
    if arguments[:1] == [_ACCELERATE]:
        from accelerate.commands.launch import launch_command, launch_command_parser

        launch_command(launch_command_parser().parse_args(arguments[1:]))
    else:
        from torch.distributed.run import main

        main(arguments)


if __name__ == "__main__":
    end_with_parent(signal.SIGTERM)
    _launch(sys.argv[1:])
