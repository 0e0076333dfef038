"""Run folders as strangers have them: damaged, half written, empty, of other programs, with markup in names and texts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

UGLY = '<b onclick="x()">bold</b> "it\'s" & 100% #1?'
"""A name of a folder that is markup, breaks attributes and addresses."""

SCRIPT = "<script>document.title = 'hacked'</script><img src=x onerror=\"document.title='hacked'\">"


def rewrite(path: Path, change) -> None:
    """Write each line of a JSONL file anew, changed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line), ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))


def make_ugly(runs: Path) -> None:
    """Folders that are damaged, half written, empty, or no runs, and texts that are markup."""
    shutil.copytree(runs / "run", runs / UGLY)
    rewrite(runs / UGLY / "predictions" / "teacher+teacher.jsonl", lambda line: {**line, "question": SCRIPT, "answer": SCRIPT})
    for name in ("torn metrics", "list metrics", "torn config", "odd values"):
        shutil.copytree(runs / "run", runs / name)
    (runs / "torn metrics" / "metrics.json").write_text((runs / "run" / "metrics.json").read_text()[:500])
    (runs / "list metrics" / "metrics.json").write_text("[1, 2]")
    (runs / "torn config" / "config.toml").write_bytes(b"[teacher\nmodel = \xff")
    odd = {"schema": 1, "conditions": {"a": 3, "b": {"score": "high", "ci95": 7}}, "models": [], "test_ids": 5, "task": {"name": [1]}}
    (runs / "odd values" / "metrics.json").write_text(json.dumps(odd))
    strange = {
        "id": [1, {}],
        "score": "x",
        "question": {"a": 1},
        "subquestions": "one",
        "sub_answers": {"a": 2},
        "usage": 3,
        "state": ["?"],
    }
    with (runs / "odd values" / "predictions" / "strange.jsonl").open("w") as file:
        file.write(json.dumps(strange) + "\n" + json.dumps({"id": "\ud800", "score": 1, "question": "half \ud800"}) + "\n")
    (runs / "empty").mkdir()
    (runs / "photos").mkdir()
    (runs / "photos" / "a.png").write_bytes(b"")
    begun = runs / "begun"
    begun.mkdir()
    shutil.copy(runs / "run" / "config.toml", begun)
    for kind, file in (("study", "study.json"), ("improve", "improve.json"), ("compile", "compiled.json")):
        shutil.copytree(runs / kind, runs / f"odd {kind}")
        (runs / f"odd {kind}" / file).write_text('{"rounds": 3, "best": 1, "trials": ["a"], "candidates": {"b": 1}, "tests": [], "dev": 4}')
    os.mkdir(os.fsencode(runs) + b"/not-utf8-\xff")
    shutil.copy(runs / "run" / "config.toml", os.fsencode(runs) + b"/not-utf8-\xff/config.toml")
