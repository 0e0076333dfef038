"""What CONTRIBUTING.md tells a user's own package to do: a task, a policy, a condition, a backend, a section of the report."""

import importlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optimizers import load_config
from optimizers.cli import app
from optimizers.conditions import parse_condition
from optimizers.screening.policy import POLICIES
from programs.baselines.registry import CONTROLS
from programs.lms import engine
from programs.lms.backends import BACKENDS
from programs.registry import Registry
from programs.tasks import TASKS, load_task

EXTENSIONS = Path(__file__).parent / "extensions"


@pytest.fixture
def stranger(monkeypatch):
    """A package that is installed beside ours: `tests/extensions/stranger`, with its entry points."""
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    monkeypatch.setenv("PYTHONPATH", str(EXTENSIONS))
    importlib.invalidate_caches()


def test_nothing_of_it_is_there_without_it():
    for registry, name in ((TASKS, "riddles"), (POLICIES, "short"), (CONTROLS, "echo"), (BACKENDS, "parrot")):
        with pytest.raises(ValueError, match=f"Unknown {registry.kind} '{name}'; expected one of "):
            registry.get(name)


def test_its_task_loads_and_is_listed(stranger):
    task = load_task("riddles", place="Oslo")
    assert task.load("test", 2)[1].question == "Where does test number 1 live?"
    assert "riddles" in CliRunner().invoke(app, ["tasks"]).output
    with pytest.raises(ValueError, match=r"Task 'riddles' has no option 'plaec'; it has \['place'\]"):
        load_task("riddles", plaec="Oslo")


def test_its_policy_is_a_setting_with_options(stranger):
    config = load_config(None, {"screening.policy": "short", "screening.options.most": "1"})
    assert (config.screening.policy, config.screening.options) == ("short", {"most": 1})


def test_its_decomposer_is_a_condition(stranger):
    assert parse_condition("echo+teacher").decomposer == "echo"
    with pytest.raises(ValueError, match="'echo'"):
        parse_condition("ecko+teacher")


def test_a_whole_run_is_made_of_its_parts(stranger, tiny, home, tmp_path, monkeypatch):
    """The stranger's task, labelled by its backend, screened by its policy, held against its condition, and its words in the report."""
    monkeypatch.setenv("DIVIDE_OR_CONQUER_BACKEND", "parrot")
    model, out = f"local/{tiny.folder}", tmp_path / "run"
    words = ["--task", "riddles", "--teacher", model, "--student", model, "--data.train", "4", "--data.test", "2", "--out", str(out)]
    words += ["--screening.policy", "short", "--screening.options.most", "2", "--screening.min_rows", "2"]
    words += [
        "--training.max_steps",
        "1",
        "--training.max_length",
        "128",
        "--evaluation.conditions",
        "teacher+teacher,echo+teacher,S_D-R+teacher",
    ]
    result = CliRunner().invoke(app, ["run", *words], catch_exceptions=False)
    engine.unload_all()
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["conditions"]["echo+teacher"]["score"] == 1.0
    assert metrics["labelling"]["by_policy"]["short"]["kept"] == 4
    asked = [json.loads(line)["subquestions"] for line in (out / "predictions" / "echo+teacher.jsonl").open()]
    assert sorted(asked) == [["Where does test number 0 live?"], ["Where does test number 1 live?"]]


def test_a_name_is_given_once_and_for_this_process():
    registry = Registry("animal", "divide_or_conquer.animals", {"own": "programs.registry:Registry"})
    horse = registry.add("horse", object())
    assert registry.get("horse") is horse and registry.names() == ["own", "horse"] and "horse" in registry
    for name in ("own", "horse"):
        with pytest.raises(ValueError, match=f"There is a animal '{name}' already"):
            registry.add(name, object())
    assert registry.get("own") is Registry


def test_a_part_that_cannot_be_loaded_is_named(stranger, monkeypatch, tmp_path):
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[divide_or_conquer.tasks]\nbroken = nowhere.at_all:Task\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"The task 'broken' could not be loaded from 'nowhere.at_all:Task': No module named 'nowhere'"):
        load_task("broken")
