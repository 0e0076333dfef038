"""How fast is labelling, and how does it scale?

    python benchmarks/labelling.py --threads 32,128  # a server that answers after 200 ms: calls a second
    python benchmarks/labelling.py --scale 100000    # memory and time of collecting, resuming and screening

The server and the scale run's engine are scripted: they measure our layer and DSPy's, not a model. Prints lines; `--json` keeps figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from frame import Arguments, whole_numbers

from optimizers.jobs.jsonlines import read_json, write_json

LATENCY = 0.2
CONTEXT = "The mother of Julia Reed is Anna Holt. Anna Holt was born in Ashford. " * 6


def scripted_text(prompt: str) -> str:
    return "Who is the mother of Julia?\nWhere was #1 born?" if "Max subquestions" in prompt else "Anna Holt\nAshford\nAnswer: Ashford"


class ScriptedServer(asyncio.Protocol):
    """Just enough HTTP for /chat/completions: every reply comes `LATENCY` seconds after its request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if found and len(body) >= length:
            self.buffer = body[length:]
            asyncio.get_running_loop().call_later(LATENCY, self.reply, json.loads(body[:length]))

    def reply(self, request: dict[str, Any]) -> None:
        message = {"role": "assistant", "content": scripted_text(request["messages"][-1]["content"])}
        reply = {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        }
        body = json.dumps(reply).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.transport.write(head + body)  # type: ignore[attr-defined]


def serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(ScriptedServer, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def scripted_server() -> Iterator[str]:
    """A server in a process of its own; its address as `api_base`."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        server.terminate()


def examples(count: int) -> list[Any]:
    import dspy

    made = (
        dspy.Example(id=f"b{i}", context=CONTEXT, question=f"Where was the mother of Julia {i} born?", answer="Ashford")
        for i in range(count)
    )
    return [example.with_inputs("context", "question") for example in made]


def throughput(threads: int, seconds: float, profile: bool, cache: bool) -> dict[str, float]:
    """Label against the scripted server for about `seconds`: calls a second, and what they would be if only the server took time."""
    import dspy

    from optimizers.labelling.collect import collect
    from programs.modules import TwoStage

    program, ideal = TwoStage(), threads / LATENCY
    with scripted_server() as base, tempfile.TemporaryDirectory() as folder:
        program.set_lm(dspy.LM("openai/scripted", api_base=base, api_key="none", cache=cache, temperature=0.0))
        collect(program, examples(threads), folder=Path(folder) / "warm", threads=threads)
        count = int(seconds * ideal / 2)
        started, cpu = time.monotonic(), time.process_time()
        if profile:
            _sample_stacks()
        collected = collect(program, examples(count), folder=Path(folder) / "run", threads=threads)
        rate = 2 * collected.done / (time.monotonic() - started)
        busy = (time.process_time() - cpu) / (2 * collected.done) * 1000
    print(f"{2 * collected.done} calls, {threads} threads, reply after {LATENCY * 1000:.0f} ms (scripted server)")
    print(f"{rate:.1f} calls/s, {rate / ideal:.1%} of {ideal:.0f} calls/s; {busy:.2f} ms of CPU a call")
    return {"calls_per_second": rate, "ideal": ideal, "cpu_ms_a_call": busy}


def _sample_stacks() -> None:
    """Print where the threads were, every so often: a profiler that sees all threads and costs next to nothing."""
    import atexit
    import threading
    from collections import Counter

    seen: Counter[str] = Counter()

    def watch() -> None:
        while True:
            time.sleep(0.005)
            for frame in sys._current_frames().values():
                stack: list[str] = []
                while frame is not None and len(stack) < 60:
                    stack.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
                    frame = frame.f_back  # type: ignore[assignment]
                if not any(idle in stack[0] for idle in ("recv", "wait", "read", "select", "poll", "watch")):
                    seen.update(set(stack))

    threading.Thread(target=watch, daemon=True).start()
    atexit.register(lambda: print("\n".join(f"{count:6d} {name}" for name, count in seen.most_common(70))))


def scale(count: int) -> dict[str, Any]:
    """One child process a phase, so that each has a peak of its own; figures by number of samples and phase."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        for size in (count // 10, count):
            for phase in ("collect", "resume", "screen"):
                command = [sys.executable, __file__, "--phase", phase, "--scale", str(size), "--folder", f"{folder}/{size}"]
                subprocess.run([*command, "--json", str(figures)], check=True)
                found.setdefault(str(size), {})[phase] = read_json(figures)
    return found


def scripted_program() -> Any:
    """The two stages on an engine that answers at once."""
    import dspy
    from dspy import lm15

    from programs.modules import TwoStage

    class ScriptedEngine:
        def complete(self, request: lm15.Request) -> lm15.Response:
            message = lm15.Message.assistant([lm15.TextPart(scripted_text(request.messages[-1].text))])
            usage = lm15.Usage(input_tokens=100, output_tokens=20)
            return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)

    program = TwoStage(adapters={"decompose": "line", "solve": "line"})
    program.set_lm(dspy.LM("local/scripted@0", engine=ScriptedEngine(), cache=False, temperature=0.0))
    return program


def run_phase(phase: str, count: int, folder: str) -> dict[str, float]:
    """Collect the samples, or take them up again where they are on file; `screen` also decides on them, and times that alone."""
    from optimizers.labelling.collect import collect
    from optimizers.labelling.journal import Limits
    from optimizers.screening.screen import count_drops, screen
    from programs.tasks.base import exact_match

    program, data = scripted_program(), examples(count)
    base, started = _peak_mib(), time.monotonic()
    collected = collect(program, data, folder=folder, threads=4, limits=Limits(failure_share=1.0))
    if phase == "screen":
        started = time.monotonic()
        decisions = screen(collected, data, "oracle", score=lambda example, prediction: exact_match(prediction.answer, [example.answer]))
        assert len(decisions) == count
        assert not count_drops(decisions)
    seconds = time.monotonic() - started
    per, peak = seconds / count * 1e6, _peak_mib()
    print(f"{phase:8s} {count:7d} samples: {seconds:7.1f} s ({per:6.0f} us each), peak {peak:5.0f} MiB ({base:.0f} before)", flush=True)
    return {"us_each": per, "peak_mib": peak, "before_mib": base}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = Arguments(__doc__)
    parser.add_argument("--threads", type=whole_numbers, default=[32], help="joined by commas (default 32)")
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long to label (default 10)")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--cache", action="store_true", help="leave DSPy's own cache on")
    parser.add_argument("--scale", type=int, help="number of samples for the memory run")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--phase", choices=["collect", "resume", "screen"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    found: Mapping[str, Any]
    if options.phase:
        found = run_phase(options.phase, options.scale, options.folder)
    elif options.scale:
        found = scale(options.scale)
    else:
        found = {str(threads): throughput(threads, options.seconds, options.profile, options.cache) for threads in options.threads}
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
