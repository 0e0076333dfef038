"""From Python every kind of job shows how far it is, on standard error alone, unless it is told not to; on folders that are done."""

import sys
from pathlib import Path

import pytest

from optimizers import compile_prompts, improve, load_config, run, run_experiment, study
from optimizers.arguments import parse_settings
from optimizers.jobs.display import VARIABLE

sys.path.insert(0, str(Path(__file__).parent / "recorded"))
from record import JOBS

FUNCTIONS = {"run": run, "experiment": run_experiment, "improve": improve, "compile": compile_prompts, "study": study}
LAST = {"run": "evaluate S_D-R+teacher", "experiment": "rows=6/S_D-R+teacher", "improve": "round 0: test", "study": "trials",
        "compile": "compile BootstrapFewShot"}  # fmt: skip


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_shows_itself_unless_told_not_to(here, kind, capsys, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    recipe, settings = parse_settings(JOBS[kind][1:])
    config = load_config(recipe, {**settings, "out": kind})
    result = FUNCTIONS[kind](config)
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert output.out == "" and 1 <= len(lines) <= 12 and all(line.startswith("20") for line in lines)
    assert LAST[kind] in lines[-1] and ("whole job: 100%" in lines[-1]) == (kind != "compile")
    assert str(result.folder) in result._repr_html_() and kind in repr(result)
    FUNCTIONS[kind](config, progress=False)
    monkeypatch.setenv(VARIABLE, "off")
    FUNCTIONS[kind](config)
    assert capsys.readouterr() == ("", "")
