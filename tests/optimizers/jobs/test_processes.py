"""Processes of our own modules, started where a user's folders bear our packages' names."""

import subprocess
import sys
from pathlib import Path

import pytest

from optimizers.jobs.processes import start_module


@pytest.fixture
def shadows(tmp_path, monkeypatch):
    """A working directory with packages of our names."""
    for name in ("optimizers", "programs", "pip"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", ["optimizers.finetune.trainer", "optimizers.studies.worker"])
def test_what_stands_in_the_working_directory_is_passed_over(shadows, module):
    with (shadows / "log").open("wb") as log:
        process = start_module(module, log=log, MARK="1")
        assert process.wait(120) != 0
    told = (shadows / "log").read_text()
    assert "somebody else" not in told
    assert "No module named" not in told
    assert module.rpartition(".")[2] in told, "the module itself misses its arguments"


def test_a_hidden_package_is_told(shadows):
    ours = Path(sys.modules["optimizers"].__file__)
    (shadows / "programs" / "__init__.py").write_text("")
    found = f"spec_from_file_location('optimizers', {str(ours)!r}, submodule_search_locations=[{str(ours.parent)!r}])"
    code = f"import importlib.util as u; spec = u.{found}; spec.loader.exec_module(u.module_from_spec(spec))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "hidden by another one" in done.stderr and str(shadows / "programs") in done.stderr
