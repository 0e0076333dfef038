"""What the documentation names is there: modules, what is imported from them, files of this repository, and links."""

import ast
import importlib
import json
import re
from importlib.util import find_spec

from links import ROOT, anchors_in, broken_links, exists, faults, pages, paths_in

NAME = re.compile(r"(?<![\w./@-])(?:optimizers|programs)(?:\.[A-Za-z_]\w*)+")
IMPORT = re.compile(r"\bfrom ((?:optimizers|programs)(?:\.\w+)*) import (\([^)]*\)|[^\n;#`']+)")


def documents():
    """Texts by the file that they are in; the log is history, and names what was there on its day."""
    texts = {path: path.read_text() for path in pages() if path.name != "log.md"}
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
    # `optimizers.md` is a page.
    return sorted({*(name for name in NAME.findall(text) if not name.endswith(".md")), *imported})


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


def test_every_link_leads_somewhere():
    assert not list(faults())


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    text = (
        "# One: the `first`, and more\n[a](#one-the-first-and-more) [b](#two) [c](https://example.org/x) [d](docs/log.md)\n\n"
        '| t |\n|---|\n| [e](docs/nothing.md) |\n\n<img src="docs/nothing.png"> ![f](docs/transfer.png)\n\n'
        "[g](docs/improve.md#methods) [h](docs/improve.md#nothing) [i](../outside.md) <mailto:a@b.c>\n\n    [j](in/code.md)\n"
    )
    assert anchors_in(text) == {"one-the-first-and-more"}
    expected = ["#two", "docs/nothing.md", "docs/nothing.png", "docs/improve.md#nothing", "../outside.md"]
    assert broken_links(ROOT / "README.md", text) == expected


def test_the_site_has_every_page_and_links_to_none_outside_of_it():
    (hook,) = re.findall(r"^  - (docs/\w+\.py)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    namespace: dict[str, object] = {}
    exec((ROOT / hook).read_text(), namespace)
    turned = namespace["on_page_markdown"](
        "See [its card](../programs/embedded/strict/README.md#use), [paper](paper.md) and [up](../screening.md)."
    )
    assert turned == "See its card (`programs/embedded/strict/README.md`), [paper](paper.md) and [up](../screening.md)."
    named = re.findall(r"([\w/]+\.md)", (ROOT / "mkdocs.yml").read_text())
    assert sorted(named) == sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
