"""A training in several processes, each with batches of its own: who speaks for all, and what they agree on.

As a program it is `torchrun`, which ends with the process that started it.
"""

from __future__ import annotations

import os
import signal
import sys

from optimizers.jobs.progress import end_with_parent


def is_first() -> bool:
    """Whether this is the process that writes files, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def any_process(flag: bool) -> bool:
    """Whether `flag` is set in one of the processes: all have to stop at the same step, as each waits for the others' gradients."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        return flag
    told = torch.tensor(int(flag), device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return bool(told.item())


if __name__ == "__main__":
    end_with_parent(signal.SIGTERM)
    from torch.distributed.run import main

    main(sys.argv[1:])
