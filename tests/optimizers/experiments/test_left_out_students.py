"""A teacher whose answers no row can be made of: the conditions that need no student are measured all the same."""

from __future__ import annotations

import json

import pytest
from loopback import chat, is_decomposition, serving

from optimizers.distilled import TooFewRowsError
from optimizers.experiments.results import Run
from optimizers.experiments.run import run
from optimizers.settings.load import load_config

CITIES = ("Rome", "Paris", "Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Delhi", "Tunis", "Minsk", "Sofia", "Accra")


def settings(folder, address, **given):
    lines = [json.dumps({"question": f"In which city does the story of {city} begin?", "answer": city}) for city in CITIES]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines))
    common = {
        "task": "jsonl", "task.path": str(path), "task.fractions": "0.5,0,0.5", "task.scorer": "exact", "data.train": 6, "data.test": 6,
        "teacher": "hosted_vllm/wordy", "teacher.api_base": address, "screening.min_rows": 4, "out": str(folder / "run"),
        "evaluation.conditions": "none+teacher,teacher+teacher,S_D-R+teacher",
    }  # fmt: skip
    return load_config(None, common | given)


def wordy(body):
    """A scripted LM that is right in a sentence, as LLMs are."""
    if is_decomposition(body):
        return chat("1. Which story is it?\n2. Where does it begin?")
    city = next(city for city in CITIES if f"story of {city} " in body["messages"][-1]["content"])
    return chat(f"Answer: It begins in the city of {city}, I believe")


def test_what_needs_no_student_is_measured_and_another_scorer_is_named(tmp_path, capsys, monkeypatch):
    with serving(wordy) as (address, bodies):
        config = settings(tmp_path, address)
        said = r"S_D-R was not trained: Only 0 rows.*6 wrong_answer.*for right: 6 by --task\.scorer contains.*report\.html"
        with pytest.raises(TooFewRowsError, match=f"(?s){said}"):
            run(config, progress=False)
        assert "S_D-R is left out: Only 0 rows" in capsys.readouterr().err
        found = Run(tmp_path / "run")
        assert [row["condition"] for row in found.table()] == ["none+teacher", "teacher+teacher"]
        assert "S_D-R" in found.metrics["skipped"]
        assert "The student S_D-R could not be trained: Only 0 rows" in (tmp_path / "run" / "report.md").read_text().replace("\\", "")
        asked = len(bodies)
        with pytest.raises(TooFewRowsError):
            run(config, progress=False)
        assert len(bodies) == asked
        # A command that only reports again made none of the figures.
        (tmp_path / "run" / "metrics.json").write_text(json.dumps({**found.metrics, "command": "divide-or-conquer run --seed 0"}))
        monkeypatch.setattr("sys.argv", ["divide-or-conquer", "report"])
        run(config, progress=False, stages=("report",))
        assert found.metrics["command"] == "divide-or-conquer run --seed 0"


def test_the_stage_alone_ends_with_the_error(tmp_path):
    with serving(wordy) as (address, _):
        config = settings(tmp_path, address)
        run(config, progress=False, stages=("label", "screen"))
        with pytest.raises(TooFewRowsError, match="was not trained"):
            run(config, progress=False, stages=("distill",))
        with pytest.raises(ValueError, match="S_D-R has no trained model"):
            run(config, progress=False, stages=("evaluate",))
