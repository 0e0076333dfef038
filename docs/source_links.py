"""A hook of MkDocs: what pages link to outside of `docs/` is named in the site, as the site has no such files."""

import re

_OUTSIDE = re.compile(
    r"\[([^\]]+)\]\(\.\./((?:programs|optimizers|tests|benchmarks|notebooks|README|CONTRIBUTING|LICENSE)[^)#]*)(?:#[^)]*)?\)"
)


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with `[text](../file)` as "text (`file`)"."""
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown)
