"""Where the documentation points to, without a network: `python tests/links.py` lists what is not there."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SOURCES = ("programs", "optimizers", "benchmarks", "tests")
ELSEWHERE = {"evaluation_gsm8k.py"}
"""Files of other repositories that are named: the paper's authors' scorer."""

QUOTED = re.compile(r"(?<!`)`([\w.*/-]+)`(?!`)")
_IN_HTML = re.compile(r"""(?:src|href)=["']([^"']+)["']""")
_AWAY = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def pages() -> list[Path]:
    """All Markdown of the repository that people read."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "programs").rglob("*.md")]
    return [page for page in found if page.is_file()]


def links_in(text: str) -> list[str]:
    """What a page links to or shows, in Markdown or in HTML."""
    found: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for inner in (token, *(token.children or ())):
            if inner.type in ("html_inline", "html_block"):
                found += _IN_HTML.findall(inner.content)
            found += [str(inner.attrs[name]) for name in ("href", "src") if name in inner.attrs]
    return found


def anchors_in(text: str) -> set[str]:
    """The anchors of a page's headings, as a forge and the site make them."""
    tokens = MarkdownIt("commonmark").parse(text)
    return {_anchor(inner.content) for token, inner in itertools.pairwise(tokens) if token.type == "heading_open"}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page to files or anchors that are not there; those to other places are not followed."""
    return [link for link in links_in(text) if not _AWAY.match(link) and not _leads_somewhere(page, text, link)]


def _leads_somewhere(page: Path, text: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors_in(target.read_text() if path else text)


def paths_in(text: str) -> list[str]:
    """Quoted texts that begin with a folder of this repository, or name a module by its file."""
    tops = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("runs", "build")}
    quoted = set(QUOTED.findall(text)) - ELSEWHERE
    return sorted(path for path in quoted if ("/" in path and path.split("/")[0] in tops) or re.fullmatch(r"\w+\.py", path))


def exists(path: str) -> bool:
    return any(ROOT.glob(path)) if "/" in path else any(file for folder in SOURCES for file in (ROOT / folder).rglob(path))


def faults() -> Iterator[str]:
    """A line for each link that leads nowhere, and for each file that is named and not there; the log is history, and may name such."""
    for page in pages():
        text, name = page.read_text(), page.relative_to(ROOT)
        yield from (f"{name}: the link {link!r} leads nowhere" for link in broken_links(page, text))
        if page.name != "log.md":
            yield from (f"{name}: there is no {path}" for path in paths_in(text) if not exists(path))


if __name__ == "__main__":
    found = list(faults())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
