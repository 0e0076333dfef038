"""Wrong invocations: each ends in one message with the next step, exit code 2, and nothing done."""

import contextlib
import io
import json
import shlex
import socket

import pytest
from rich.console import Console

from optimizers import cli
from optimizers.settings.load import recipe_names

# What is typed -> a part of what is said. Files are those of the fixture `files`.
WRONG = {
    # A task, its options and files
    "run --task jsonl": "add --task.path",
    "run --task jsonl --dry-run": "add --task.path",
    "run --task nosuch --dry-run": "Unknown task 'nosuch'",
    "run --task '' --dry-run": "Unknown task ''",
    "run --task.nosuch 3 --dry-run": "has no option 'nosuch'",
    "run --task.hops x --dry-run": "hops='x'",
    "run --task.name.x 3": "task.name.x is no setting",
    "run --task jsonl --task.path nosuch.jsonl --dry-run": "There is no nosuch.jsonl",
    "run --task jsonl --task.path empty --dry-run": "empty is empty",
    "run --task jsonl --task.path bytes --dry-run": "not UTF-8",
    "run --task jsonl --task.path folder --dry-run": "There is no folder/train.jsonl",
    "run --task jsonl --task.path q60.jsonl --data.train 300 --dry-run": "has 42 examples, and 300 were asked for",
    "run --task jsonl --task.path q60.jsonl --data.train 20 --data.test 300 --dry-run": "300 were asked for",
    "run --task jsonl --task.path 'q [a].jsonl' --dry-run": "q [a].jsonl",
    "run --task jsonl --task.path q60.jsonl --data.train 10 --data.test 5": "data.train=10 gives 10 rows at most",
    "run --screening.min_rows 500 --data.train 200 --dry-run": "screening.min_rows=500 are needed",
    "run --max_usd 1 --dry-run": "max_usd=1 needs a price for teacher embedded/teacher",
    "run --labelling.max_usd 1 --dry-run": "labelling.max_usd=1 needs a price",
    "run --labelling.samples 3 --dry-run": "add --labelling.temperature 0.7",
    "run --teacher.program nosuch.json --dry-run": "nosuch.json",
    "run --task jsonl --task.path q60.jsonl --data.train 20 --task.columns context=no --dry-run": "no line has the column 'no'",
    # Settings that do not exist
    "run --taks gsm8k": "did you mean --task?",
    "run @ embedded --traning.min_steps 5": "did you mean --training.min_steps",
    "run @ embedded --dryrun": "Did you mean --dry-run?",
    "run @ embedded --dry_run": "Did you mean --dry-run?",
    "ask what? --decomposer left_out/student/S_D-R": "left_out/student/S_D-R was not trained: Only 2 rows",
    "ask what? --decomposer runs/nowhere/S_D-R": "there is no folder or file runs/nowhere/S_D-R",
    "run --epochs 3": "did you mean --training.epochs",
    "run --data.tarin 3": "did you mean --data.train",
    "run --nosuch 3": "the sections are seed, out, max_usd",
    "run --=3": "names no setting",
    "run --. 3": "names no setting",
    "run --a..b 3": "Unknown setting 'a'",
    "run -x 3": "'-x' belongs to no setting",
    "run -h": "Did you mean '--help'?",
    "run --task.path q60.jsonl": "A file of your own is read by --task jsonl",
    "report emptyfolder": "There is no folder emptyfolder with a config.toml",
    "run embedded": "Did you mean '@ embedded'?",
    "run mine.toml": "Did you mean '@ mine.toml'?",
    "run q60.jsonl": "--task jsonl --task.path q60.jsonl",
    "label --dry-run": "'label' has no --dry-run",
    "screen --nosuch": "Unknown setting 'nosuch'",
    "run @ embedded --settings": "add --dry-run",
    # Sharing
    "push folder --repo me/x --dry-run shown": "folder holds no run",
    "push folder --repo x": "folder holds no run",
    "push nosuch --repo me/x": "nosuch holds no run",
    "export-dataset nosuch out": "nosuch holds no run",
    "export-dataset nosuch out --format csv": "Unknown format 'csv'",
    "export-logs nosuch out": "nosuch holds no run",
    # Values that cannot be
    "run --seed": "--seed needs a value",
    "run --seed --dry-run": "--seed needs a value",
    "run --seed=": "seed=''",
    "run --seed 1.5": "seed='1.5'",
    "run --data.train.x 3": "data.train.x is no setting",
    "run @ paper --data.train.x 3": "data.train.x is no setting",
    "run --data.train -3": "data.train='-3'",
    "run --data.train 99999999999999999999": "at most 1000000|less than or equal to 1000000",
    "run --improve.data.dev 99999999999": "less than or equal to 1000000",
    "run --study.trials 99999999999999999999": "study.trials=1e+20 is too large",
    "run --training.epochs inf": "finite",
    "run --training.epochs nan": "training.epochs='nan'",
    "run --labelling.max_usd nan": "labelling.max_usd='nan'",
    "run --training 3": "training is a section; it has --training.method",
    "run --experiment.students x": "it has --experiment.students.NAME.model",
    "run --training.device nosuch": "'auto', 'cpu', 'cuda' or 'mps'",
    "run --training.base x": "--student MODEL",
    "run --experiment.training.base x": "--student MODEL",
    "run --evaluation.conditions ''": "evaluation.conditions is empty",
    "run --evaluation.conditions nosuch --dry-run": "Unknown condition 'nosuch'",
    "run --screening.policy nosuch": "Unknown screening policy 'nosuch'",
    "run --screening.options.x 3 --dry-run": "has no option 'x'",
    "run --experiment.data.foo.train 3": "experiment.data.foo: Unknown task 'foo'",
    "run --experiment.data.multihop.train -3": "experiment.data.multihop.train=-3",
    "run --experiment.training.nosuch 3": "Unknown setting 'experiment.training.nosuch'",
    "run --experiment.training.epochs x": "experiment.training.epochs='x'",
    # Models
    "run --teacher '' --dry-run": "Unknown model ''",
    "run --teacher nosuch/model --dry-run": "Unknown model 'nosuch/model'",
    "run --teacher embedded/nosuch --dry-run": "Unknown model 'embedded/nosuch'",
    "run --teacher local/nosuch --dry-run": "'nosuch' is no folder",
    "run --teacher local/student --dry-run": "manifest.json",
    "run --student embedded/nosuch --dry-run": "Unknown model 'embedded/nosuch'",
    "run --student hf/x --dry-run": "hf/<organisation>/<name>",
    "run --student openai/gpt-4.1-mini --dry-run": "The student 'openai/gpt-4.1-mini' is a model behind an API",
    "run --student hosted_vllm/mine --dry-run": "name a model such as 'embedded/base'",
    "experiment --dry-run --experiment.students.a anthropic/x": "The student 'anthropic/x' is a model behind an API",
    "improve --student gemini/x --dry-run": "The student 'gemini/x' is a model behind an API",
    "study @ study --student azure/x --dry-run": "The student 'azure/x' is a model behind an API",
    "run --solver.max_tokens 128": "add --solver MODEL",
    "run --screening.judge.max_tokens 128": "add --screening.judge MODEL",
    "run --screening.judge nosuch/x --dry-run": "screening.judge: Unknown model 'nosuch/x'",
    "run --teacher openai/gpt-4.1-mini": "OPENAI_API_KEY",
    # Recipes and files of settings
    "run @": "needs the name of a recipe",
    "run @ --dry-run": "needs the name of a recipe",
    "run @ nosuch": "No recipe and no file 'nosuch'",
    "run @ 'x [a]'": "No recipe and no file 'x [a]'",
    "run @ folder": "No recipe and no file 'folder'",
    "run @ embedded @ paper": "Two recipes are given",
    "run @ bytes": "bytes is no valid TOML",
    "run @ wrong.toml": "task=3 is no value: task is a section",
    "run @ huge.toml": "huge.toml is no valid TOML",
    # Folders
    "run --out file": "out='file' is no folder",
    "improve --out file": "out='file' is no folder",
    "compile --out file": "out='file' is no folder",
    "study @ study --out file": "out='file' is no folder",
    "run --out ''": "out='' is no folder",
    "run --out folder": "folder is not empty and holds no run",
    "run --out 'with [a]'": "with [a] is not empty",
    "report --out nosuch": "nosuch holds no run to report on",
    "report --out emptyfolder": "emptyfolder holds no run to report on",
    "experiment --stages report --out nosuch": "nosuch holds no run to report on",
    # Other jobs
    "experiment --stages nosuch": "Unknown stage 'nosuch'",
    "experiment --dry-run --experiment.train nosuch": "Unknown task 'nosuch'",
    "experiment --dry-run --experiment.test nosuch": "Unknown task 'nosuch'",
    "experiment --experiment.rows ''": "experiment.rows is empty",
    "experiment --experiment.conditions ''": "experiment.conditions is empty",
    "experiment --experiment.ablations nosuch": "unknown ablation 'nosuch'",
    "experiment --dry-run --experiment.solvers.a nosuch/x": "Unknown model 'nosuch/x'",
    "experiment --dry-run --experiment.students.a embedded/nosuch": "Unknown model 'embedded/nosuch'",
    "study --dry-run": "data.dev is 0",
    "study @ study --dry-run --study.sampler nosuch": "study.sampler='nosuch'",
    "study @ study --dry-run --study.space.x.low 1": "study.space: unknown setting 'x'",
    "improve --improve.method nosuch": "'expert', 'dpo' or 'grpo'",
    "improve @ success --dry-run --improve.task nosuch": "Unknown task 'nosuch'",
    "improve --dry-run --task jsonl --task.path q60.jsonl --data.train 10 --data.test 5 --improve.data.train 300": "300 were asked for",
    "compile --dry-run --compile.optimizer nosuch": "Unknown compile.optimizer 'nosuch'",
    "compile --dry-run --compile.settings.nosuch 3": "has no setting 'nosuch'",
    "compile --teacher openai/gpt-4.1-mini": "OPENAI_API_KEY",
    # What is no job
    "ask ''": "The question is empty",
    "ask x --max-subquestions 0": "max_subquestions=0",
    "ask x --decomposer nosuch": "Unknown model 'nosuch'",
    "ask x --decomposer student": "manifest.json",
    "ask x --solver openai/gpt-4.1-mini": "OPENAI_API_KEY",
    "ask x --solvr y": "--solver",
    "serve nosuch": "Cannot serve 'nosuch'",
    "serve --port 99999": "65535",
    "serve --port -1": "greater than or equal to 0",
    "serve --port TAKEN": "Cannot listen at 127.0.0.1",
    "serve --host nosuch.invalid": "Cannot listen at nosuch.invalid:8000",
    "export nosuch x.gguf": "is no model artifact",
    "export file x.gguf": "is no model artifact",
    "export student file": "is unreadable",
    "export student nosuch/x.gguf": "There is no folder nosuch",
    "export": "Missing argument",
    "rnu": "Did you mean 'run'?",
    "'x [a]'": "No such command 'x [a]'",
    "--nosuch": "No such option",
    "tasks --nosuch": "No such option",
    "doctor x": "unexpected extra argument",
}

JOBS = ("run", "experiment", "study", "improve", "compile", "label", "screen", "distill", "evaluate", "report")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of every wrong kind, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lines = "".join(json.dumps({"question": f"What is {i} + {i}?", "answer": str(2 * i)}) + "\n" for i in range(60))
    (tmp_path / "q60.jsonl").write_text(lines)
    (tmp_path / "q [a].jsonl").write_text(lines[:200].rpartition("\n")[0])
    for name, text in {"empty": "", "file": "x", "wrong.toml": "task = 3", "huge.toml": f"seed = {'9' * 5000}"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x81" * 20)
    for name in ("folder", "with [a]", "emptyfolder", "student"):
        (tmp_path / name).mkdir()
    for name in ("folder/x.txt", "with [a]/x.txt", "student/manifest.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "left_out").mkdir()
    (tmp_path / "left_out" / "skipped.json").write_text('{"S_D-R": "Only 2 rows for decompose"}')
    return tmp_path


def invoke(words, monkeypatch):
    """The exit code, and all that is printed, of the entry point in this process."""
    said = io.StringIO()
    monkeypatch.setattr(cli, "out", Console(file=said, width=80, markup=False, emoji=False))
    monkeypatch.setattr(cli, "console", Console(file=said, width=80, markup=False, emoji=False))
    monkeypatch.setattr("sys.argv", ["divide-or-conquer", *words])
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code or 0, said.getvalue()
    return 0, said.getvalue()


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_says_what_would_do(files, monkeypatch, line):
    before = sorted(files.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        code, said = invoke(shlex.split(line.replace("TAKEN", str(server.getsockname()[1]))), monkeypatch)
    plain = " ".join(said.replace("│", " ").split())
    assert code == 2 and "Traceback" not in said and "Provider List" not in said, said
    assert any(part in plain for part in WRONG[line].split("|")), said
    assert len(said) < 2500, said
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize("job", JOBS)
def test_a_bare_job_asks_for_a_recipe_or_a_task_and_starts_nothing(files, monkeypatch, job):
    before = sorted(files.rglob("*"))
    code, said = invoke([job], monkeypatch)
    assert code == 2 and f"divide-or-conquer {job} @ " in said and f"divide-or-conquer {job} --task jsonl --task.path" in said
    assert all(f"  @ {name} " in said for name in recipe_names()) and "on two CPU" in said
    assert sorted(files.rglob("*")) == before


def test_the_version_is_told(monkeypatch):
    code, said = invoke(["--version"], monkeypatch)
    assert code == 0 and said.startswith("divide-or-conquer 0.")


def test_settings_of_the_teacher_alone_are_those_of_the_default_one(files, monkeypatch):
    code, said = invoke(["run", "--teacher.max_tokens", "128", "--dry-run"], monkeypatch)
    assert code == 0 and "embedded/teacher" in said, said


def _raise(error):
    raise error


def _outside(name, module):
    return type(name, (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ConnectionRefusedError(111, "Connection refused"),
        RuntimeError("CUDA out of memory"),
        _outside("LMTransportError", "dspy.utils.exceptions")("[openai/x] failed to connect to localhost:8000"),
        _outside("APIConnectionError", "openai")("Connection error."),
        _outside("StorageInternalError", "optuna.exceptions")("the database is locked"),
        _outside("SafetensorError", "safetensors_rust")("header too large"),
    ],
)
def test_errors_of_models_networks_and_files_are_one_message(files, monkeypatch, error):
    monkeypatch.setattr("optimizers.ask.ask_once", lambda *words, **named: _raise(error))
    code, said = invoke(["ask", "x"], monkeypatch)
    assert code == 2 and said.startswith("Error: ") and said.count("\n") == 1, said


def test_a_fault_of_the_program_is_one_line_and_the_traceback_in_a_log(files, monkeypatch):
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(files / "home"))
    monkeypatch.setattr("optimizers.ask.ask_once", lambda *words, **named: {}["a [key]"])
    code, said = invoke(["ask", "x"], monkeypatch)
    assert code == 1 and "KeyError: 'a [key]'" in said and said.count("\n") == 1, said
    assert "Traceback" in (files / "home" / "errors.log").read_text() and "errors.log" in said
    monkeypatch.setenv("DIVIDE_OR_CONQUER_TRACEBACK", "1")
    with pytest.raises(KeyError):
        invoke(["ask", "x"], monkeypatch)


def test_a_dead_server_is_named_with_what_to_check(files, monkeypatch):
    error = _outside("LMTransportError", "dspy.utils.exceptions")("[openai/x] failed to connect to localhost:8000")
    monkeypatch.setattr("optimizers.ask.ask_once", lambda *words, **named: _raise(error))
    assert "localhost:8000. Check that the server runs" in invoke(["ask", "x"], monkeypatch)[1]
