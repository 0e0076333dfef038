"""A Ray cluster on this machine: nodes that are processes of their own, which can be killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).parent


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[Any]:
    """A cluster of so many nodes, none of which does anything but what is asked of it."""
    import ray
    from ray.cluster_utils import Cluster

    from programs.lms import ray_pool

    path = os.pathsep.join([str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    ray_pool._pools.clear()
    ray.shutdown()  # Else the next one would go on with the cluster of the one before.
    # Given back at the end: with it pip takes this project for installed, wherever it installs.
    with mock.patch.dict(os.environ, {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "PYTHONPATH": path}):
        cluster = Cluster()
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            ray_pool._pools.clear()
            ray.shutdown()
            cluster.shutdown()
