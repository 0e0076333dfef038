"""The study of carrying over: its arms, what it refuses, and a whole one on a tiny student that is really trained."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from carry_over_arms import Arm, builtin_arms, read_arms  # noqa: E402
from carry_over_study import Study, drawn  # noqa: E402

from optimizers.settings.load import load_config  # noqa: E402
from programs.tasks import load_task  # noqa: E402


def config(tmp_path, **settings):
    sizes = {name: {"train": 6, "test": 3} for name in ("people", "books", "longer")}
    return load_config("forgiving", {"out": str(tmp_path / "study"), "experiment.data": sizes, "data.train": 6, **settings})


def test_every_built_in_arm_changes_one_thing(tmp_path):
    base = config(tmp_path)
    arms = {arm.name: arm for arm in builtin_arms(base)}
    assert {"plain", "steps x2", "adapter_scale=0.7", "compose", "mask_entities", "unscreened", "mixture"} <= set(arms)
    plain = arms["plain"].config(base, 1).model_dump()
    for arm in arms.values():
        changed = {key for key, value in arm.config(base, 1).model_dump().items() if value != plain[key]}
        assert len(changed) == (0 if arm.name in ("plain", "unscreened") else 2 if arm.name == "samples=4" else 1), arm
    assert "rank=16" not in arms  # the recipe's own
    assert arms["mixture"].config(base, 0).task.options()["parts"]["books"]["schema"] == "books"


def test_a_seed_draws_other_questions_of_the_same_split(tmp_path):
    task = load_task("multihop")
    draws = [{example.id for example in drawn(task, 10, seed)} for seed in range(3)]
    assert all(len(draw) == 10 for draw in draws) and not draws[0] & draws[1] and not draws[1] & draws[2]
    (tmp_path / "q.jsonl").write_text("".join(f'{{"question": "Who is {i}?", "answer": "x"}}\n' for i in range(40)))
    short = load_task("jsonl", path=str(tmp_path / "q.jsonl"))
    ids = [{example.id for example in drawn(short, 20, seed)} for seed in range(3)]
    assert all(len(draw) == 20 for draw in ids) and ids[1] != ids[2]
    assert set.union(*ids) <= {example.id for example in short.load("train")}


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([Arm("x", {"trainings": {"epochs": 1}})], "Arm 'x': unknown section 'trainings'"),
        ([Arm("x", {"training": {"epoch": 1}})], "Arm 'x'.*epoch"),
        ([Arm("x", student="S_E-T")], "unknown student 'S_E-T'"),
        ([Arm("x", task="poems")], "Unknown task 'poems'"),
        ([Arm("a/b")], "a name that a folder can have"),
    ],
)
def test_arms_that_cannot_be_are_named_before_any_work(tmp_path, arms, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        Study(config(tmp_path), [Arm("plain"), *arms], [0])
    assert not (tmp_path / "study").exists()


def test_an_arm_of_a_file_and_one_that_changed_its_settings(tmp_path):
    file = tmp_path / "arms.toml"
    file.write_text('[arms.slow.training]\nepochs = 8\n[arms.both]\ntask = {name = "mixture", parts = "people,books"}\nstudent = "S_D-T"\n')
    arms = read_arms(file)
    assert [arm.name for arm in arms] == ["plain", "slow", "both"] and arms[2].student == "S_D-T"
    Study(config(tmp_path), arms, [0, 1])
    with pytest.raises(ValueError, match="has an arm 'slow' of other settings"):
        Study(config(tmp_path), [Arm("plain"), Arm("slow", {"training": {"epochs": 9}})], [0])
    with pytest.raises(ValueError, match=r"teacher\.max_tokens"):
        Study(config(tmp_path, **{"teacher.max_tokens": 7}), arms, [0])
    file.write_text("[arms.slow]\nepochs = 8\n")
    with pytest.raises(ValueError, match="must hold tables of settings"):
        read_arms(file)


def command(out, tiny, *words):
    sizes = ["--rows", "6", "--test", "3", "--screening.min_rows", "2", "--training.max_steps", "2", "--teacher.max_tokens", "48"]
    words = ["@", "forgiving", "--out", str(out), "--student", f"local/{tiny.folder}", "--student.max_tokens", "8", *sizes, *words]
    found = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "carry_over.py", *words], capture_output=True, text=True, env=dict(os.environ)
    )
    return found.returncode, found.stdout, found.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_whole_study_and_its_continuation(tmp_path, tiny):
    out = tmp_path / "study"
    status, _, errors = command(out, tiny, "--arms-only", "compose", "--seeds", "0")
    assert status == 0, errors
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jsonl") if path.parent.name != "seed-0" or "students" in path.parts}
    status, text, errors = command(out, tiny, "--arms-only", "compose,mixture", "--seeds", "0,1", "--discard-students")
    assert status == 0, errors
    found = json.loads((out / "carry_over.json").read_text())
    assert {(cell["arm"], cell["test"], tuple(cell["seeds"])) for cell in found["cells"]} == {
        (arm, test, (0, 1)) for arm in ("plain", "compose", "mixture") for test in ("people", "books", "longer")
    }
    students = {arm: [one["rows"] for one in about["students"].values()] for arm, about in found["arms"].items()}
    assert all(plain < more for plain, more in zip(students["plain"], students["compose"], strict=True))
    assert all(0 < cell["against_plain"]["p_holm"] <= 1 for cell in found["cells"] if cell["arm"] != "plain")
    assert "| compose |" in text and (out / "carry_over.png").stat().st_size > 5000
    calls = [json.loads(line)["key"] for line in (out / "predictions" / "calls.jsonl").open()]
    assert len(set(calls)) == len(calls)
    assert all(path.stat().st_mtime_ns == before[path] for path in before if "students" in path.parts)
    assert not list((out / "students" / "mixture").rglob("*.safetensors"))
    unchanged = {path: path.stat().st_mtime_ns for path in out.rglob("*.jsonl")}
    assert command(out, tiny, "--arms-only", "compose,mixture", "--seeds", "0,1")[0] == 0
    assert unchanged == {path: path.stat().st_mtime_ns for path in unchanged}
