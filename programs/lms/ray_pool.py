"""LMs whose calls are made on the nodes of a Ray cluster: one process a node or GPU, each with the model.

Whoever asks stays where it is, with its files: only a request goes to a node, and an answer comes back. So a job writes the same lines as
with threads, each once, and a node that dies costs the calls that it had under way, which are made on another one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import dspy
from dspy import lm15
from dspy._vendor.lm15.errors import canonical_error_code, error_class_for_code
from dspy._vendor.lm15.serde import request_from_dict, request_to_dict, response_from_dict, response_to_dict
from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.utils.exceptions import LMError

from programs.lms import artifacts, catalog
from programs.lms.api_models import ask
from programs.lms.engine import told_seconds, unload
from programs.lms.servers import address_of
from programs.lms.token_counts import as_counted_together
from programs.lms.whole_answers import AsyncWholeAnswers, WholeAnswers

_log = logging.getLogger("divide_or_conquer")

CALLS = 64
"""Calls that a node is given at a time: as many as a local model answers in one batch."""

_LOOK_SECONDS = 5.0
_CONNECT_SECONDS = 10.0
_PROBE_SECONDS = 60.0
_PATIENCE = 120.0
"""For how long a call waits for a node where none is left."""

_REACH = frozenset({*CLIENT_KEYS, "backend", "device"})

_MODELS = 2
"""Models whose weights a node keeps."""


def lm_on_nodes(model: str, address: str, **options: Any) -> dspy.LM:
    """As `programs.lms.lm`, with its calls made on the nodes of a Ray cluster.

    Args:
        model: Model string, which has to mean the same on all nodes.
        address: Of the cluster: `auto`, or `HOST:PORT`, as `ray.init` takes it.
        **options: As of `programs.lms.lm`; keys come from the environment of the nodes.

    Raises:
        ValueError: A model that does not exist, no cluster there, another one than before in this process, or no Ray.
    """
    reach = {name: options.pop(name) for name in list(options) if name in _REACH}
    if address_of(model, reach):
        options.setdefault("cache", False)  # as of `programs.lms.lm`
    asked = catalog.lm(model, **options)
    pool(address)
    return asked.copy(engine=RayEngine(asked.model, reach, address), async_engine=AsyncRayEngine(asked.model, reach, address))


class _Engine:
    """What the two engines share.

    Args:
        model: The LM's model string, which has to mean the same on all nodes.
        options: Of `programs.lms.lm` on the nodes: how the model is reached there. What shapes an answer comes with each request.
        address: Of the cluster: `auto`, or `HOST:PORT`, as `ray.init` takes it.
    """

    def __init__(self, model: str, options: Mapping[str, Any], address: str) -> None:
        self.model, self.options, self.address = model, dict(options), address

    def ask(self, request: lm15.Request) -> lm15.Response:
        """One answer; blocks until a node has given it."""
        path = artifacts.known_path(self.model)
        return pool(self.address).ask(self.model, {**self.options, "path": path and str(path)}, request)

    def dump_state(self) -> dict[str, Any]:
        """What `load_state` needs; no key."""
        options = {name: value for name, value in self.options.items() if name != "api_key"}
        return {"model": self.model, "options": options, "address": self.address}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Self:
        """An engine as it was saved."""
        return cls(**state)


class RayEngine(_Engine, WholeAnswers):
    """Asks a model on the nodes of a Ray cluster, for `dspy.LM(engine=…)`; see `lm_on_nodes`."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        return told_seconds(self.ask(request))


class AsyncRayEngine(_Engine, AsyncWholeAnswers):
    """`RayEngine` for `dspy.LM(async_engine=…)`."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer."""
        return told_seconds(await asyncio.to_thread(self.ask, request))


def load_ray() -> Any:
    """The `ray` module.

    Raises:
        ValueError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("ray=ADDRESS needs Ray: pip install 'divide-or-conquer[ray]', on every node; or leave it out.") from error
    return ray


_pools: dict[str, Pool] = {}
_pools_lock = threading.Lock()


def pool(address: str) -> Pool:
    """The pool of a cluster, connected at its first use.

    Raises:
        ValueError: Ray is not installed, no cluster is there, or this process is connected to another one.
    """
    with _pools_lock:
        if address not in _pools:
            made = Pool(address)
            # `auto` and `HOST:PORT` may be the same cluster, whose nodes need each model once.
            _pools[address] = next((one for one in _pools.values() if one.connection == made.connection), made)
        return _pools[address]


def _probe(address: str) -> None:
    """See that a cluster answers, in a process that can be ended: without one, `ray.init` blocks for minutes, deaf to Ctrl-C, or aborts.

    Raises:
        OSError: Nothing listens there, or what does is no cluster.
        ValueError: Not an address.
    """
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check"]
    if address != "auto":
        host, separator, port = address.rpartition(":")
        if "/" in address or not (separator and port.isdecimal() and int(port) < 1 << 16):
            raise ValueError("an address is 'auto' or HOST:PORT, with the port of `ray start --head`, 6379 by default")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        command += ["--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(f"what listens there did not answer as Ray does within {_PROBE_SECONDS:.0f} s") from error
    if done.returncode:
        raise ConnectionError((done.stderr.strip().splitlines() or ["no cluster answers"])[-1])


def _refuse_another(address: str, connected: str) -> None:
    """See that a process that was connected before is connected to the cluster that is meant: `ray.init` goes on with the first one.

    Raises:
        ValueError: It is another one.
    """
    if address == "auto" or _places(address) & _places(connected):
        return
    raise ValueError(
        f"ray={address!r} is another Ray cluster than {connected!r}, to which this process is connected; Ray has one a process. "
        f"Take {connected!r} or 'auto', start a process of its own, or disconnect this one first with ray.shutdown()."
    )


def _places(address: str) -> set[tuple[str, int]]:
    """The IP addresses that a `HOST:PORT` stands for; a loopback one stands for this machine's own too, under which Ray knows its nodes."""
    from ray.util import get_node_ip_address

    host, _, port = address.rpartition(":")
    found = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)}
    if any(ip_address(one.partition("%")[0]).is_loopback for one in found):
        found |= {get_node_ip_address(), "127.0.0.1"}
    return {(one, int(port)) for one in found}


class Pool:
    """The processes on the nodes of a cluster, of which each call goes to the one with the fewest under way.

    Args:
        address: Of the cluster.

    Attributes:
        connection: Address and job by which Ray knows this process; another one after `ray.shutdown()`.

    Raises:
        ValueError: Ray is not installed, no cluster is there, or this process is connected to another one.
    """

    def __init__(self, address: str) -> None:
        self._ray, self._address = load_ray(), address
        try:
            _probe(address)
            self._ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"No Ray cluster at {address!r} ({error}). Start one (`ray start --head`, and `ray start --address HOST:6379` on each "
                "further node), or leave ray out to ask from this process."
            ) from error
        context = self._ray.get_runtime_context()
        _refuse_another(address, context.gcs_address)
        self.connection = context.gcs_address, context.get_job_id()
        self._lock = threading.Lock()
        self._workers: dict[tuple[str, int], _Worker] = {}
        self._useless: dict[str, str] = {}
        self._looked = 0.0

    def ask(self, model: str, options: Mapping[str, Any], request: lm15.Request) -> lm15.Response:
        """An answer from one of the nodes; from another one if that dies meanwhile.

        Raises:
            lm15.LM15Error: What the model's server or the model itself says.
            lm15.TransportError: No node is left, or none can import this package.
        """
        told, deadline = request_to_dict(request), time.monotonic() + _PATIENCE
        while True:
            worker = self._take(deadline)
            try:
                return _read(self._ray.get(worker.actor.ask.remote(model, dict(options), told)))
            except self._ray.exceptions.RayActorError as error:
                self._lose(worker, error)
            finally:
                self._give_back(worker)

    def _take(self, deadline: float) -> _Worker:
        while True:
            with self._lock:
                self._look()
                if self._workers:
                    worker = min(self._workers.values(), key=lambda one: one.under_way)
                    worker.under_way += 1
                    return worker
                useless = [f"{node}: {reason}" for node, reason in self._useless.items()]
            if useless or time.monotonic() > deadline:
                raise lm15.TransportError(f"No node of the Ray cluster at {self._address!r} is left. {' '.join(useless)}".strip())
            time.sleep(0.2)

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            worker.under_way -= 1

    def _lose(self, worker: _Worker, error: Any) -> None:
        with self._lock:
            known = self._workers.pop(worker.place, None) is not None
            self._looked = 0.0
            if error.actor_init_failed:
                # It would fail again and again.
                reason = f"{str(error).strip().splitlines()[-1].strip()}. Install divide-or-conquer[ray] there, in this version."
                self._useless[worker.place[0]] = reason
                if known:
                    _log.warning("A Ray node cannot be used. %s", reason)
            elif known:
                _log.warning("A Ray node is lost; its calls are made on another one. %s", str(error).splitlines()[0])

    def _look(self) -> None:
        """Start processes on nodes that have come, every few seconds."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for node in self._ray.nodes():
            gpus = int(node["Resources"].get("GPU", 0))
            usable = node["Alive"] and node["NodeID"] not in self._useless
            for number in range(max(1, gpus) if usable else 0):
                place = (node["NodeID"], number)
                if place not in self._workers:
                    self._workers[place] = _Worker(place, self._started(node["NodeID"], 1 if gpus else 0))

    def _started(self, node: str, gpus: int) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        settings = {"num_cpus": 0, "num_gpus": gpus, "max_concurrency": CALLS, "scheduling_strategy": there}
        return self._ray.remote(_on_node(_foreign_folder())).options(**settings).remote()


class _Worker:
    """A process on a node, and how many calls it has."""

    def __init__(self, place: tuple[str, int], actor: Any) -> None:
        self.place, self.actor, self.under_way = place, actor, 0


def _foreign_folder() -> str:
    """The working directory, if our packages are not in it: Ray has the nodes look for modules there first."""
    here = str(Path.cwd())
    return "" if Path(here, "programs", "lms", Path(__file__).name).exists() else here


def _on_node(passed_over: str) -> type:
    """The class of the processes on the nodes; one that is known by its module would be looked for before it could say where."""

    class OnNode:
        def __init__(self) -> None:
            sys.path[:] = [folder for folder in sys.path if folder != passed_over]
            from programs.lms.ray_pool import Answerer

            self._answerer = Answerer()

        def ask(self, model: str, options: dict[str, Any], request: dict[str, Any]) -> tuple[str, Any]:
            return self._answerer.ask(model, options, request)

    return OnNode


class _Counted:
    """A usage tracker: the tokens of one call, as DSPy evens them out by its provider."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] = {}

    def add_usage(self, model: str, usage: dict[str, Any]) -> None:
        self.usage = usage


class Answerer:
    """What runs on a node: answers requests by its own copies of the models."""

    def __init__(self) -> None:
        self._lms: dict[str, Any] = {}
        self._lock = threading.Lock()

    def ask(self, model: str, options: dict[str, Any], request: dict[str, Any]) -> tuple[str, Any]:
        """`("answer", response)`, or `("error", [code, words])`: exceptions of DSPy do not all survive pickling."""
        try:
            counted = _Counted()
            with dspy.context(callbacks=[], disable_history=True, usage_tracker=counted):
                response = ask(self._lm(model, options), request=request_from_dict(request))
            response = as_counted_together(response, usage=counted.usage)
            return "answer", response_to_dict(response, include_provider_data=True)
        except LMError as error:
            cause = error.__cause__
            # A spent quota is told by an error of DSPy alone, with a code that lm15 has too.
            return "error", [canonical_error_code(cause), str(cause)] if isinstance(cause, lm15.LM15Error) else [error.code, error.message]

    def _lm(self, model: str, options: dict[str, Any]) -> Any:
        path = options.pop("path", None)
        if path:
            # Whoever asks has registered the model at home; nodes that share its files find it there.
            artifacts.offer(model, Path(path))
        key = f"{model} {sorted(options.items(), key=str)}"
        with self._lock:
            if key not in self._lms:
                while len(self._lms) >= _MODELS:
                    unload(self._lms.pop(next(iter(self._lms))).model)
                # Answers are kept by who asks.
                self._lms[key] = catalog.lm(model, **{**options, "cache": False, "num_retries": 0})
            return self._lms[key]


def _read(told: tuple[str, Any]) -> lm15.Response:
    kind, value = told
    if kind == "answer":
        return response_from_dict(value)
    raise error_class_for_code(value[0])(value[1])
