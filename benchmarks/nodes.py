"""How much more do two nodes of a Ray cluster answer than one, on calls that wait?

    python benchmarks/nodes.py --seconds 8

Labels against the scripted server of `benchmarks/labelling.py`, which answers after 200 ms, over nodes of this machine that are given few
calls at a time. Prints calls a second; `--json` keeps them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from frame import Arguments
from labelling import LATENCY, examples, scripted_server

from optimizers.jobs.jsonlines import write_json

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

CALLS = 4
"""That a node has at a time, so that the calls wait and not the processor."""


def main() -> None:
    from ray_cluster import ray_cluster

    parser = Arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="about how long to label on one node (default 8)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    os.environ["OPENAI_API_KEY"] = "none"
    found = {}
    with scripted_server() as base:
        for nodes in (1, 2):
            with ray_cluster(nodes) as cluster:
                found[str(nodes)] = {"calls_per_second": rate(cluster.address, base, nodes, options.seconds)}
                print(f"{nodes} nodes: {found[str(nodes)]['calls_per_second']:.1f} calls/s")
    if options.json:
        write_json(options.json, found)


def rate(address: str, base: str, nodes: int, seconds: float) -> float:
    """Calls a second of labelling, once every node has answered."""
    from optimizers.labelling.collect import collect
    from programs.lms import ray_pool
    from programs.modules import TwoStage

    ray_pool.CALLS = CALLS
    there = ray_pool.lm_on_nodes("openai/scripted", address, api_base=base, cache=False, temperature=0.0)
    threads, questions = 2 * CALLS * nodes, examples(int(nodes * seconds * CALLS / LATENCY / 2) + 4 * CALLS)
    warm, timed = questions[: 4 * CALLS], questions[4 * CALLS :]
    with tempfile.TemporaryDirectory() as folder:
        collect(TwoStage(), warm, folder=Path(folder) / "warm", lm=there, threads=threads)
        started = time.monotonic()
        done = collect(TwoStage(), timed, folder=Path(folder) / "run", lm=there, threads=threads).done
        return 2 * done / (time.monotonic() - started)


if __name__ == "__main__":
    main()
