"""What the documentation names is there: modules, what is imported from them, and files of this repository."""

import ast
import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("programs", "optimizers", "benchmarks", "tests")
ELSEWHERE = {"evaluation_gsm8k.py"}
"""Files of other repositories that are named: the paper's authors' scorer."""

NAME = re.compile(r"(?<![\w./@-])(?:optimizers|programs)(?:\.[A-Za-z_]\w*)+")
IMPORT = re.compile(r"\bfrom ((?:optimizers|programs)(?:\.\w+)*) import (\([^)]*\)|[^\n;#`']+)")
QUOTED = re.compile(r"(?<!`)`([\w.*/-]+)`(?!`)")


def documents():
    """Texts by the file that they are in; the log is history, and names what was there on its day."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "programs").rglob("*.md")]
    texts = {path: path.read_text() for path in pages if path.is_file() and path.name != "log.md"}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        texts[path] = "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
    for path in (path for folder in ("programs", "optimizers", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        texts[path] = "\n\n".join(docstrings(path))
    return {str(path.relative_to(ROOT)): text for path, text in sorted(texts.items())}


def docstrings(path):
    """Texts that stand by themselves: of modules, classes, functions and attributes."""
    statements = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Expr)]
    return [node.value for node in statements if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def is_module(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a part of the name before the last is no package
        return False


def resolves(name):
    """Whether a dotted name is a module, or something in one; modules that are only named are not imported, since some are slow."""
    if is_module(name):
        return True
    parent, _, attribute = name.rpartition(".")
    if not parent or not resolves(parent):
        return False
    found = found_in(parent)
    return hasattr(found, attribute) or attribute in getattr(found, "model_fields", {})


def found_in(name):
    if is_module(name):
        return importlib.import_module(name)
    parent, _, attribute = name.rpartition(".")
    return getattr(found_in(parent), attribute)


def names_in(text):
    imported = [
        f"{module}.{part.split(' as ')[0].strip()}"
        for module, parts in IMPORT.findall(text)
        for part in parts.strip("()").split(",")
        if re.fullmatch(r"\w+(?: as \w+)?", part.strip())
    ]
    return sorted({*NAME.findall(text), *imported})


def paths_in(text):
    """Quoted texts that begin with a folder of this repository, or name a module by its file."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "runs"}
    quoted = set(QUOTED.findall(text)) - ELSEWHERE
    return sorted(path for path in quoted if ("/" in path and path.split("/")[0] in tops) or re.fullmatch(r"\w+\.py", path))


def exists(path):
    return any(ROOT.glob(path)) if "/" in path else any(file for folder in SOURCES for file in (ROOT / folder).rglob(path))


def test_every_name_resolves():
    missing = {page: [name for name in names_in(text) if not resolves(name)] for page, text in documents().items()}
    assert not {page: names for page, names in missing.items() if names}


def test_every_path_exists():
    missing = {page: [path for path in paths_in(text) if not exists(path)] for page, text in documents().items()}
    assert not {page: paths for page, paths in missing.items() if paths}


def test_names_and_paths_are_found_where_they_stand():
    text = (
        "See `optimizers.nowhere.Thing`, `docs/nothing.md` and `nobody.py`; `runs/mine/x.json` is a result.\n"
        "    from optimizers.screening import (Asking,\n        Nothing as Any)\n    from programs import TwoStage  # the program\n"
    )
    names = names_in(text)
    assert names == [
        "optimizers.nowhere.Thing",
        "optimizers.screening",
        "optimizers.screening.Asking",
        "optimizers.screening.Nothing",
        "programs.TwoStage",
    ]
    assert [name for name in names if not resolves(name)] == ["optimizers.nowhere.Thing", "optimizers.screening.Nothing"]
    assert resolves("optimizers.settings.run.RunConfig.training")
    assert [path for path in paths_in(text) if not exists(path)] == ["docs/nothing.md", "nobody.py"]
