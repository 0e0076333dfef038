"""What CONTRIBUTING.md tells a user's own package to do: a task, a policy, a condition, a backend, a section of the report."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import dspy
import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from optimizers import load_config
from optimizers.cli import app
from optimizers.conditions import parse_condition
from optimizers.evaluation.answering import answer_one
from optimizers.experiments.roles import Roles
from optimizers.labelling.samples import Sample
from optimizers.reports.run_report import SECTIONS, write_report
from optimizers.screening.policy import POLICIES, verdict
from optimizers.screening.screen import screen
from optimizers.settings.splits import loaded
from programs.baselines.controls import NoDecomposition
from programs.baselines.registry import CONTROLS
from programs.lms import engine
from programs.lms.backends import BACKENDS
from programs.lms.backends.base import GenerateResult
from programs.lms.catalog import lm
from programs.registry import Registry
from programs.tasks import TASKS, load_task
from programs.tasks.base import ScaleError

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
    echoed = [json.loads(line) for line in (out / "predictions" / "echo+teacher.jsonl").open()]
    assert "A word of the stranger's" in (out / "report.md").read_text()
    # The question again is no decomposition.
    assert [(line["state"], line["subquestions"]) for line in echoed] == [("none_needed", [])] * 2


def test_a_name_is_given_once_and_for_this_process():
    registry = Registry("animal", "divide_or_conquer.animals", {"own": "programs.registry:Registry"})
    horse = registry.add("horse", object())
    assert registry.get("horse") is horse and registry.names() == ["own", "horse"] and "horse" in registry
    for name in ("own", "horse"):
        with pytest.raises(ValueError, match=f"There is a animal '{name}' already"):
            registry.add(name, object())
    assert registry.get("own") is Registry


def install(monkeypatch, folder, task):
    """Another package beside the stranger's, with one task."""
    about = folder / "other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[divide_or_conquer.tasks]\n{task}\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_a_part_that_cannot_be_loaded_is_named(stranger, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, "broken = nowhere.at_all:Task")
    said = r"The task 'broken' could not be loaded from 'nowhere.at_all:Task': ModuleNotFoundError: No module named 'nowhere'"
    with pytest.raises(ValueError, match=said):
        load_task("broken")
    with pytest.warns(UserWarning, match=said):
        assert "riddles" in TASKS.usable()


def test_a_name_of_ours_is_never_replaced(stranger, monkeypatch, tmp_path):
    install(monkeypatch, tmp_path, "jsonl = stranger.riddles:Riddles")
    with pytest.warns(UserWarning, match="The task 'jsonl' of 'stranger.riddles:Riddles' is not used: that name is taken"):
        assert TASKS.usable()["jsonl"].__name__ == "JsonlTask"


def test_a_control_with_the_name_of_a_role_does_not_take_its_place(monkeypatch, tmp_path):
    monkeypatch.setitem(CONTROLS._added, "teacher", lambda teacher, examples, seed: NoDecomposition())
    monkeypatch.setitem(CONTROLS._added, "nothing", lambda teacher, examples, seed: None)
    roles = Roles(load_config(), tmp_path)
    program = roles.program(parse_condition("teacher+teacher"), load_task("multihop"), [])
    assert not isinstance(program.decompose, NoDecomposition)
    with pytest.raises(ValueError, match=r"The decomposer 'nothing' was built as None; `build` must give a dspy\.Module"):
        roles.program(parse_condition("nothing+teacher"), load_task("multihop"), [])


class Quiet:
    """A backend that returns its results and tells nobody."""

    name = "quiet"

    def __init__(self, folder, results):
        self.tokenizer, self.results = AutoTokenizer.from_pretrained(folder), results

    def generate(self, requests, on_result=None, more=None):
        return self.results and [GenerateResult("Rome", 1, 1) for _ in requests]

    def close(self):
        pass


@pytest.mark.parametrize("results", [True, None])
def test_a_backend_that_only_returns_its_results_is_heard_and_one_without_results_fails(tiny, home, monkeypatch, results):
    monkeypatch.setitem(BACKENDS._added, "quiet", lambda model, device: Quiet(model.folder, results))
    model = lm(f"local/{tiny.folder}", backend="quiet")
    if results:
        assert model("Where?")[0] == "Rome"
    else:
        with pytest.raises(Exception, match="gave no result for a request"):
            model("Where?")
    engine.unload_all()


def test_what_a_policy_of_theirs_says_is_checked():
    sample = Sample("a", 0, [], {"subquestions": ["Who?"], "state": "ok"}, {})
    for wrong in (None, True, "too_long", (True, None), ("", None), ("a", None, 1)):
        policy = SimpleNamespace(name="mine", judge=lambda *_, wrong=wrong: wrong)
        with pytest.raises(ValueError, match=r"The policy 'mine' gave .* for a sample; `judge` must give"):
            verdict(policy, None, sample, lambda: None)
    with pytest.raises(ValueError, match="The policy class SimpleNamespace has no `name`"):
        screen([], [], SimpleNamespace(judge=None), score=None)


def test_what_a_task_of_theirs_says_is_checked():
    question = dspy.Example(id="a", question="Where?", answer="Rome").with_inputs("question")
    program = lambda **_: dspy.Prediction(answer="Rome")  # noqa: E731 - a program in a line
    for given, score, error in ((0.5, 0.5, None), (True, 1.0, None), ("right", None, "score: ValueError")):
        line = answer_one(program, SimpleNamespace(name="mine", score=lambda *_, given=given: given), question)
        assert line["score"] == score and (line["error"] or "").startswith(error or "")
        assert line["answer"] == "Rome"
    with pytest.raises(ScaleError, match="Question 'a': `score` of task 'mine' returned 2"):
        answer_one(program, SimpleNamespace(name="mine", score=lambda *_: 2.0), question)
    lost = SimpleNamespace(name="mine", load=lambda split, count: [question])
    with pytest.raises(ValueError, match="Task 'mine' gave 1 questions of test, and 2 were asked for"):
        loaded(lost, "test", 2)
    nameless = SimpleNamespace(name="mine", load=lambda split, count: (dspy.Example(question="Where?") for _ in range(count)))
    with pytest.raises(ValueError, match="A test question of task 'mine' has no 'id'"):
        loaded(nameless, "test", 2)


def test_a_section_that_fails_is_said_to_and_the_others_are_written(monkeypatch, tmp_path):
    monkeypatch.setitem(SECTIONS._added, "raises", lambda run: 1 / 0)
    monkeypatch.setitem(SECTIONS._added, "gives nothing", lambda run: None)
    (tmp_path / "config.toml").write_text("seed = 0\n")
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "This section could not be made: ZeroDivisionError: division by zero" in text
    assert "it gave None in place of a list of sections" in text and "## What was run" in text
