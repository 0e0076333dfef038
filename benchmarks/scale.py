"""Does what reads and sums up stay linear in time, and how much memory does it take?

    python benchmarks/scale.py --sizes 1000,10000,100000                # every phase
    python benchmarks/scale.py --sizes 1000,100000 --phases label,view  # some of them

A run of a few questions is made with a scripted server and the small models of `tests/recorded`. Its lines are then written again for
as many questions as are asked for, with texts and ids of their own, so that the job finds all its work on file: no LM is asked. Each
phase runs in a process of its own, and is timed without the imports. Prints lines; `--json` keeps figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from frame import Arguments, whole_numbers

from optimizers.jobs.jsonlines import line_of, read_json, read_lines, write_json, write_whole

RECORDED = Path(__file__).resolve().parents[1] / "tests" / "recorded" / "folders.tar.xz"
RUNS = {"run": "oracle", "votes": "self_consistency"}
"""Folder of a run, and the policy that screens in it."""
CONDITIONS = ("single-stage", "teacher+teacher", "S_D-R+teacher")
SEED_QUESTIONS = 10
Timed = dict[str, Callable[[], Any]]
"""What is timed, by name."""
_WORDS, _LENGTH = 5000, 25


def question(split: str, number: int) -> str:
    """A question of about the length of GSM8K's, whose words are its own."""
    draw = random.Random(f"{split}{number}")
    words = " ".join(f"w{draw.randrange(_WORDS)}" for _ in range(_LENGTH))
    return f"Somebody told that {words}. Where does number {number} of {split} live?"


def answer(number: int) -> str:
    """The reference of a question."""
    return "Ashford" if number % 5 else "Oslo"


def write_questions(folder: Path, size: int) -> None:
    """`train.jsonl` and `test.jsonl`, as many lines in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        rows = ({"question": question(split, number), "answer": answer(number)} for number in range(1, size + 1))
        write_whole(folder / f"{split}.jsonl", map(line_of, rows))


def configuration(size: int, name: str, api_base: str) -> dict[str, Any]:
    """Of one of `RUNS` in the working directory."""
    teacher = {"model": "openai/scripted", "api_base": api_base, "adapter": "line"}
    return {
        "out": name,
        "task": {"name": "jsonl", "path": "questions"},
        "data": {"train": size, "test": size},
        "teacher": teacher,
        "student": {"model": "local/tiny", "max_tokens": 64},
        "screening": {"policy": RUNS[name], "min_rows": 2},
        "evaluation": {"conditions": list(CONDITIONS)},
    }


def job_of(size: int, name: str, api_base: str) -> Any:
    from optimizers.experiments.run_job import MainJob
    from optimizers.settings.run import RunConfig

    return MainJob(RunConfig.model_validate(configuration(size, name, api_base)))


def make_seed() -> None:
    """In the working directory: a run of a few questions, asked of a scripted server; screened by both policies."""
    from labelling import scripted_server

    from optimizers.experiments.run import report

    with tarfile.open(RECORDED) as archive:
        archive.extractall(".", [one for one in archive if one.name.startswith(("tiny", "run/student"))], filter="data")
    Path("run").rename("trained")
    write_questions(Path("questions"), SEED_QUESTIONS)
    with scripted_server() as api_base:
        Path("api_base").write_text(api_base)
        jobs = {name: job_of(SEED_QUESTIONS, name, api_base) for name in RUNS}
        for job in jobs.values():
            job.label()
            job.screen()
        for name in RUNS:
            shutil.copytree("trained/student", f"{name}/student")
        jobs["run"].evaluate()
    report(jobs["run"])


class Copies:
    """Lines of the seed for any number of questions.

    Args:
        seed: Folder of the seed.
        size: Questions in each split.
    """

    def __init__(self, seed: Path, size: int) -> None:
        from optimizers.labelling.samples import inputs_hash
        from optimizers.screening.self_consistency import SelfConsistency

        self.seed, self.size = seed, size
        self._hash, self._policy = inputs_hash, SelfConsistency()

    def write(self, phases: Collection[str]) -> None:
        """What some phases need, in the working directory."""
        shutil.copytree(self.seed / "tiny", "tiny")
        shutil.copy(self.seed / "api_base", ".")
        for name, phase in {"run": "job", "votes": "vote"}.items():
            if phase in phases:
                self._write_labels(name)
        run = Path("run")
        (run / "predictions").mkdir(parents=True, exist_ok=True)
        self._write_figures(run)
        if {"job", "logs"} & {*phases}:
            calls = self._prompted_calls() if "logs" in phases else self._calls("run/predictions/calls.jsonl")
            write_whole(run / "predictions" / "calls.jsonl", calls)
        for condition in CONDITIONS:
            found = self._of(f"run/predictions/{condition}.jsonl", "test")
            write_whole(run / "predictions" / f"{condition}.jsonl", map(line_of, found))
        shutil.copy(self.seed / "run/predictions/models.json", run / "predictions")

    def _write_labels(self, name: str) -> None:
        write_questions(Path("questions"), self.size)
        _job(self.size, name)
        shutil.copytree(self.seed / "run/student", Path(name, "student"))
        write_whole(Path(name, "samples.jsonl"), self._samples(f"{name}/samples.jsonl"))
        write_whole(Path(name, "traces.jsonl"), self._calls(f"{name}/traces.jsonl"))

    def _write_figures(self, run: Path) -> None:
        """The seed's figures, with the ids of these questions; `job` writes its own."""
        found = read_json(self.seed / "run/metrics.json")
        for condition in found["conditions"].values():
            condition |= {"n": self.size, "scored": self.size}
        write_json(run / "metrics.json", {**found, "test_ids": [f"test-{n}" for n in range(1, self.size + 1)]})
        if not (run / "config.toml").exists():
            shutil.copy(self.seed / "run/config.toml", run)
        write_whole(run / "rows.jsonl", map(line_of, self._of("run/rows.jsonl", "train")))

    def _of(self, name: str, split: str) -> Iterator[dict[str, Any]]:
        """The lines of a file of the seed, again for every question of a split."""
        by_question: dict[int, list[str]] = {}
        for text in (self.seed / name).read_text().splitlines():
            like = next(number for number in range(1, SEED_QUESTIONS + 1) if question(split, number) in text)
            by_question.setdefault(like, []).append(text)
        for number in range(1, self.size + 1):
            like = (number - 1) % SEED_QUESTIONS + 1
            for text in by_question[like]:
                made = text.replace(question(split, like), question(split, number))
                yield json.loads(made.replace(f'"{split}-{like}', f'"{split}-{number}'))

    def _samples(self, name: str) -> Iterator[str]:
        """Labels and votes, with the hashes of their own inputs."""
        for record in self._of(name, "train"):
            inputs = dict(record["calls"][0][1])
            inputs.pop("max_subquestions", None)
            if "/" in record["example"]:
                record["example"] = self._policy._key(_example(record["example"].split("/")[0], inputs), inputs)
            record["inputs"] = self._hash(_example(record["example"], inputs))
            yield line_of(record)

    def _calls(self, name: str) -> Iterator[str]:
        """As many calls a question as in the seed, each with a key of its own."""
        found = list(read_lines(self.seed / name))
        for number in range(len(found) * self.size // SEED_QUESTIONS):
            record = found[number % len(found)]
            yield line_of({**record, "key": hashlib.sha256(f"{name}{number}".encode()).hexdigest()})

    def _prompted_calls(self) -> Iterator[str]:
        """The calls behind the predictions, each with the hash of the prompt that its own question makes."""
        from optimizers.reports.prompts import Asked, CallsOnFile, _hash

        calls, models = CallsOnFile(self.seed / "run"), read_json(self.seed / "run/metrics.json")["conditions"]
        for condition in CONDITIONS:
            lines = list(read_lines(self.seed / f"run/predictions/{condition}.jsonl"))
            asked = {line["question"]: calls.exchanges(Asked(line, models[condition]["models"])) for line in lines}
            for number in range(1, self.size + 1):
                like = question("test", (number - 1) % SEED_QUESTIONS + 1)
                for one in asked[like]:
                    made = [{"role": m.role, "content": m.text.replace(like, question("test", number))} for m in one.messages]
                    key = hashlib.sha256(f"{condition}{number}{one.stage}".encode()).hexdigest()
                    yield line_of({**one.record, "key": key, "prompt": _hash(made)})


def _example(example_id: str, inputs: dict[str, Any], reference: str = "") -> Any:
    import dspy

    return dspy.Example(id=example_id, **inputs, answer=reference).with_inputs(*inputs)


# What is measured: each prepares, and gives what is timed, by name
def job(size: int) -> Timed:
    """A finished run taken up again, up to its figures: labels and answers are on file, rows are screened by `oracle`."""
    import optimizers.experiments.run  # noqa: F401 - whose time is not that of the questions
    from optimizers.experiments.metrics import build_metrics

    made: list[Any] = []
    return {
        "set_up": lambda: made.append(_job(size)),
        "label": lambda: made[0].label(),
        "screen": lambda: made[0].screen(),
        "evaluate": lambda: made[0].evaluate(),
        "summarise": lambda: write_json(Path("run/metrics.json"), build_metrics(made[0])),
    }


def vote(size: int) -> Timed:
    """Rows by the policy `self_consistency`, whose five votes a label are on file."""
    return {"vote": _job(size, "votes").screen}


def rows(size: int) -> Timed:
    """What a training does with its rows before the first step: their identity, the job folder, and the tokens."""
    from transformers import AutoTokenizer

    from optimizers.finetune.identity import TrainingIdentity
    from optimizers.finetune.spec import TrainingSpec
    from optimizers.finetune.train import _prepare
    from optimizers.finetune.trainer import _dataset

    tokenizer, spec, work = AutoTokenizer.from_pretrained("tiny"), TrainingSpec(base="tiny"), Path("student.work")
    found = [row for row in read_lines(Path("run/rows.jsonl")) if row["kept"]]

    def prepared() -> Any:
        _prepare(work, TrainingIdentity(found, [], spec, "line-terse", "local/tiny"))
        return _dataset(work / "rows.jsonl", tokenizer, 4096)

    return {"rows": prepared}


def scores(size: int) -> Timed:
    """Answers of all conditions summed up and compared by pairs, as in `metrics.json`."""
    from optimizers.evaluation.answers import answers_on_file, scores_of
    from optimizers.evaluation.summary import summarise
    from optimizers.experiments.metrics import _comparisons, _retentions

    examples = [_example(f"test-{n}", {"question": question("test", n)}, answer(n)) for n in range(1, size + 1)]

    def compared() -> None:
        lines = {name: answers_on_file(Path(f"run/predictions/{name}.jsonl"), examples) for name in CONDITIONS}
        assert all(len(found) == size and summarise(found)["n"] == size for found in lines.values())
        found = {name: scores_of(own) for name, own in lines.items()}
        _comparisons(found)
        _retentions(found)

    return {"scores": compared}


def report(size: int) -> Timed:
    """`report.md`, `report.html` and the figures."""
    from optimizers.reports.run_report import write_report

    return {"report": lambda: write_report(Path("run"))}


def frames(size: int) -> Timed:
    """Data frames of the comparisons and of all predictions."""
    from optimizers import Run

    run = Run("run")
    return {"frames": lambda: (run.comparisons(), run.predictions())}


def view(size: int) -> Timed:
    """Four pages of the viewer: the list of runs, the run, a page of answers, a search by words."""
    from urllib.request import urlopen

    from optimizers.viewer.server import Viewer

    address = Viewer(".", port=0).start()

    def seen() -> None:
        for page in ("", "job?job=run", "answers?job=run&verdict=wrong", f"answers?job=run&words=number+{size}"):
            with urlopen(f"{address.rstrip('/')}/{page}") as answer:
                assert answer.status == 200
                answer.read()

    return {"view": seen}


def logs(size: int) -> Timed:
    """Logs of inspect_ai."""
    from optimizers.sharing.inspect_logs import export_logs

    shutil.rmtree("logs", ignore_errors=True)
    return {"logs": lambda: export_logs(Path("run"), Path("logs"))}


def traces(size: int) -> Timed:
    """Somebody else's traces, a line a question, laid beside the questions."""
    from optimizers.labelling.traces import read_traces
    from optimizers.settings.splits import with_their_traces

    made = ({"question": question("train", n), "subquestions": ["Who is it?", "Where is #1?"]} for n in range(1, size + 1))
    write_whole(Path("traces.jsonl"), map(line_of, made))
    splits = {
        split: [_example(f"{split}-{n}", {"question": question(split, n)}) for n in range(1, size + 1)] for split in ("train", "test")
    }
    return {"traces": lambda: with_their_traces(splits, read_traces("traces.jsonl"))}


PHASES: dict[str, Callable[[int], Timed]] = {
    phase.__name__: phase for phase in (job, vote, rows, scores, report, frames, view, traces, logs)
}
MOST = {"job": 10_000, "vote": 10_000, "logs": 10_000}
"""Questions up to which a phase is measured: what takes a millisecond a question and more takes too long with 100,000."""


def _job(size: int, name: str = "run") -> Any:
    return job_of(size, name, Path("api_base").read_text())


def run_phase(phase: str, size: int) -> dict[str, dict[str, float]]:
    """Figures of each part, in a folder that `Copies` wrote; the peak is that of the process so far."""
    found = {}
    for name, part in PHASES[phase](size).items():
        before, started, cpu = _peak_mib(), time.monotonic(), time.process_time()
        part()
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        each, peak = cpu / size * 1e6, _peak_mib()
        times = f"{seconds:7.1f} s, {cpu:7.2f} s of CPU ({each:6.0f} us each)"
        print(f"{name:10s} {size:7d}: {times}, peak {peak:5.0f} MiB ({before:.0f} before)", flush=True)
        found[name] = {"seconds": seconds, "cpu_seconds": cpu, "us_each": each, "peak_mib": peak, "before_mib": before}
    return found


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scale(sizes: Sequence[int], phases: Sequence[str], folder: Path) -> dict[str, Any]:
    """Figures by size and part; a child process makes the seed, one each folder, and one each phase."""
    found: dict[str, Any] = {}
    seed = folder / "seed"
    if not (seed / "run" / "report.md").exists():
        _child(seed, "seed")
    for size in sizes:
        own, figures = folder / str(size), folder / "figures.json"
        chosen = [phase for phase in phases if size <= MOST.get(phase, size)]
        if not (own / "run" / "predictions" / "models.json").exists():
            shutil.rmtree(own, ignore_errors=True)
            _child(own, "copies", str(size), "--phases", ",".join(chosen))
        for phase in chosen:
            _child(own, phase, str(size), "--json", str(figures))
            found[str(size)] = {**found.get(str(size), {}), **read_json(figures)}
    return found


def _child(folder: Path, *words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    further = {"OPENAI_API_KEY": "none", "DIVIDE_OR_CONQUER_BACKEND": "transformers", "DIVIDE_OR_CONQUER_HOME": str(folder / "home")}
    name, *rest = words
    size, rest = (rest[0], rest[1:]) if rest else ("0", [])
    command = [sys.executable, str(Path(__file__).resolve()), "--phase", name, "--sizes", size, *rest]
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, **further})


def main() -> None:
    parser = Arguments(__doc__)
    parser.add_argument("--sizes", type=whole_numbers, default=[1000, 10_000], help="joined by commas (default 1000,10000)")
    parser.add_argument("--phases", default=",".join(PHASES), help=f"joined by commas: {', '.join(PHASES)} (default all)")
    parser.add_argument("--folder", type=Path, help="where to make the runs, and keep them for another time")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--phase", choices=["seed", "copies", *PHASES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase == "seed":
        make_seed()
    elif options.phase == "copies":
        Copies(Path.cwd().parent / "seed", options.sizes[0]).write(options.phases.split(","))
    elif options.phase:
        write_json(options.json, run_phase(options.phase, options.sizes[0]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = scale(options.sizes, options.phases.split(","), (options.folder or Path(folder)).resolve())
        if options.json:
            write_json(options.json, found)


if __name__ == "__main__":
    main()
