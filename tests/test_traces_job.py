"""A run on traces from elsewhere from the command line: real training of the embedded model, whose teacher is not asked."""

from __future__ import annotations

import json

import pytest
from command_line import command, finish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def lines(path):
    return [json.loads(line) for line in path.open()]


def test_a_student_is_trained_on_traces_alone(tmp_path):
    films = ["Alien", "Brazil", "Casablanca", "Dracula", "Evita", "Fargo", "Gandhi", "Heat", "Interstellar", "Jaws", "Klute", "Laura"]
    questions = [{"id": film, "question": f"Who was the mother of the director of {film}?", "answer": "Ann"} for film in films]
    data = tmp_path / "data"
    data.mkdir()
    for split, kept in (("train", questions[:2]), ("test", questions[2:5])):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in kept))
    parts = "1. Who directed {}?\n2. Who was the mother of #1?"
    traces = [{"question": one["question"], "decomposition": parts.format(one["id"])} for one in questions]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*traces, {"question": "Why?"}]))
    out = tmp_path / "run"
    settings = {"task": "jsonl", "task.path": data, "task.scorer": "exact", "labelling.traces": tmp_path / "traces.jsonl", "data.train": 0,
                "data.test": 3, "evaluation.conditions": "S_D-T+teacher", "screening.min_rows": 4, "training.max_steps": 2,
                "student.max_tokens": 16, "teacher.max_tokens": 48, "out": out}  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    planned = " ".join(finish(command("run", *words, "--dry-run")).split())
    assert "9 decompositions of 9 questions are taken" in planned and "3 are kept out" in planned, planned
    said = " ".join(finish(command("run", *words)).split())
    assert "3 are kept out, as their questions are tested" in said and "line 13: no decomposition" in said
    assert not (out / "traces.jsonl").exists() or not lines(out / "traces.jsonl")
    labelling = json.loads((out / "metrics.json").read_text())["labelling"]
    assert (labelling["traced"], labelling["samples"], labelling["calls"]) == (9, 9, 0)
    assert (labelling["traces"]["refused"], labelling["traces"]["kept_out"]) == (1, 3)
    rows = lines(out / "rows.jsonl")
    assert len(rows) == 9 and all(row["kept"] and row["traced"] for row in rows)
    tested = {one["question"] for one in questions[2:5]}
    assert not tested & {row["question"] for row in rows}
    assert len(json.loads((out / "traces.json").read_text())["kept_out"]) == 3
    report = (out / "report.md").read_text()
    assert "9 labels are from the traces" in report and "0 from the teacher" in report
