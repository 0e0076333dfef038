"""The words of a command line, as a recipe and dotted settings."""

from __future__ import annotations

import difflib
from pathlib import Path

SETTINGS_HELP = (
    "Settings: '@ NAME' takes a recipe or a TOML file; '--teacher M', '--student M', '--solver M', '--task T', '--out DIR', '--seed N', "
    "and any '--section.key VALUE': '--data.train 300', '--task.hops 2,3', '--training.epochs 2', '--labelling.max_usd 5'."
)


_SWITCHES = ("dry-run", "settings", "redo", "stages", "help", "version")
"""Options of commands that are no settings."""


def parse_settings(arguments: list[str]) -> tuple[str | None, dict[str, str]]:
    """Split `@ recipe --a.b value --c=value` into the recipe and the overrides.

    A folder of an earlier job stands for its settings: `runs/mine` is `@ runs/mine/config.toml --out runs/mine`.

    Raises:
        ValueError: A word that belongs to no setting, or a setting without a value.
    """
    recipe: str | None = None
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        is_folder = (Path(word) / "config.toml").is_file()
        if word.startswith("@") or is_folder:
            name = str(Path(word) / "config.toml") if is_folder else word[1:] or (rest.pop(0) if rest else "")
            if not name or name.startswith("--"):
                raise ValueError("'@' needs the name of a recipe or the path of a TOML file after it.")
            if recipe is not None:
                raise ValueError(f"Two recipes are given, {recipe!r} and {name!r}; name one, and set the rest by flags.")
            recipe = name
            overrides |= {"out": word} if is_folder else {}
        elif word.startswith("--"):
            key, value = _setting(word[2:], rest)
            overrides[key] = value
        else:
            raise ValueError(f"{word!r} belongs to no setting.{_meant(word)} {SETTINGS_HELP}")
    return recipe, overrides


def _setting(word: str, rest: list[str]) -> tuple[str, str]:
    """A flag with its value, which is taken from `rest` where none is behind an equals sign."""
    key, equals, value = word.partition("=")
    if not key.strip("."):
        raise ValueError(f"'--{word}' names no setting. {SETTINGS_HELP}")
    if equals:
        return key, value
    if not rest or rest[0].startswith("--"):
        raise ValueError(f"--{key} needs a value: --{key} VALUE.{_unknown(key)}")
    return key, rest.pop(0)


def _unknown(key: str) -> str:
    from optimizers.settings.explain import known_names, unknown_setting

    alike = difflib.get_close_matches(key.replace("_", "-"), _SWITCHES, n=1, cutoff=0.8)
    if alike:
        return f" Did you mean --{alike[0]}?"
    return "" if key in known_names() or key.startswith("task.") else f" {unknown_setting(key)}"


def _meant(word: str) -> str:
    """What a bare word was probably meant as."""
    from optimizers.settings.load import recipe_names

    if word == "-h":
        return " Did you mean '--help'?"
    if word in recipe_names() or word.endswith(".toml"):
        return f" Did you mean '@ {word}'?"
    if ("/" in word or Path(word).exists()) and not word.endswith(".jsonl"):
        return f" There is no folder {word} with a config.toml, as runs have; run the command where the job was started."
    return f" Did you mean '--task jsonl --task.path {word}'?" if word.endswith(".jsonl") else ""
