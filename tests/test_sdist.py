"""What is distributed: its version, and a source distribution with all that a checkout has."""

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import optimizers
import programs

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
NOT_SHIPPED = {".gitignore"}


def in_git():
    """Files of the repository; a source distribution, which has these tests too, is no repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no Git repository")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


def test_both_packages_tell_the_version_that_was_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert optimizers.__version__ == programs.__version__ == project["version"]


def test_the_sdist_has_every_file_of_the_repository_and_none_beside(tmp_path):
    wanted = in_git() - NOT_SHIPPED
    for name in wanted:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(ROOT / name)
    built = subprocess.run([sys.executable, "-c", BUILD, tmp_path], cwd=tmp_path / "source", capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        found = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    generated = {name for name in found if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert set(found) - generated == wanted
    assert {"CHANGELOG.md", "docs/index.md", "notebooks/01_quickstart.ipynb", "optimizers/recipes/embedded.toml", "LICENSE"} <= set(found)
    assert found["docs/index.md"].size == (ROOT / "docs" / "index.md").stat().st_size
