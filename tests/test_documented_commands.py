"""Every command that the documentation shows is one: it exists, and its settings load. Python and TOML that it shows are whole."""

import ast
import re
import shlex
import tomllib
from importlib import resources

import pytest
from links import ROOT, pages
from markdown_it import MarkdownIt
from typer.main import get_command

from optimizers.arguments import parse_settings
from optimizers.cli import app
from optimizers.completion import SettingsCommand
from optimizers.experiments.plan_view import plan
from optimizers.settings.load import load_config
from optimizers.settings.task import TaskConfig
from optimizers.settings.valid_values import section_of

PAGES = [page for page in pages() if page.name != "log.md"]
QUESTIONS = "".join(f'{{"question": "How many are {number} and 1?", "answer": {number + 1}}}\n' for number in range(1000))
TRACES = "".join(
    f'{{"question": "How old are Ann and {n} cats?", "subquestions": ["How old is Ann?", "How old are {n} cats?"]}}\n' for n in range(40)
)
FILES = {
    "mine.toml": "seed = 1",
    "questions.jsonl": QUESTIONS,
    "data/questions.jsonl": QUESTIONS,
    "examples.jsonl": "{}",
    "traces.jsonl": TRACES,
}
"""Files of a reader's that commands name."""

INLINE = re.compile(r"(?<!`)`((?:divide-or-conquer|make) [^`]+)`(?!`)")
FLAG = re.compile(r"--((?:[a-z]\w*\.)+\w[\w.-]*)")
OPEN = re.compile(
    r"(cost\.prices|compile\.settings|screening\.options|study\.space|experiment\.(training|data)|(teacher|student)\.options)\..+"
)
"""Names that no section has: a user's, or another library's."""
TEMPLATES = ("<", "...", "KIND")


def blocks(page):
    """Code of a page by its language; what is indented has none."""
    return [
        (token.info, token.content) for token in MarkdownIt("commonmark").parse(page.read_text()) if token.type in ("fence", "code_block")
    ]


def commands_in(page):
    """Commands of a page, each in one line without what stands behind it."""
    lines = [line for language, text in blocks(page) if language in ("", "bash", "sh") for line in text.replace("\\\n", " ").splitlines()]
    whole = [line for line in lines if re.match(r"\s*(?:\S+/)?(?:divide-or-conquer|make)\s", line) or "divide-or-conquer " in line]
    return [*whole, *INLINE.findall(page.read_text())]


def words_of(command):
    """The words behind the name of the command, and that name."""
    words = shlex.split(command, comments=True)
    at = next((number for number, word in enumerate(words) if word.rpartition("/")[2] in ("divide-or-conquer", "make")), None)
    return (None, []) if at is None else (words[at].rpartition("/")[2], words[at + 1 :])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    best = tmp_path / "runs" / "study" / "best.toml"
    best.parent.mkdir(parents=True)
    best.write_text((resources.files("optimizers.recipes") / "embedded.toml").read_text())
    # What earlier commands of a page leave.
    for name in ("third", "helps"):
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.toml").write_text(best.read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def check(words, planned=True):
    """Parse a command as it would be parsed, without doing it; `planned`: look at questions and prices too, as before any payment."""
    group = get_command(app)
    if words[0].startswith("--"):
        assert words[0] in {flag for option in group.params for flag in option.opts}, words
        return
    command = group.commands.get(words[0])
    assert command, f"there is no command {words[0]!r}"
    if len(words) == 1 and isinstance(command, SettingsCommand):
        return
    context = command.make_context(words[0], words[1:])
    if isinstance(command, SettingsCommand):
        config = load_config(*parse_settings(context.args))
        if planned and config.task.name == "jsonl" and words[0] in ("run", "experiment", "evaluate", "report"):
            plan(config, grid=words[0] == "experiment")
    else:
        assert not context.args, context.args


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_exist_and_their_settings_load(page, folder):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands_in(page):
        name, words = words_of(command)
        if name == "make":
            assert {word for word in words if "=" not in word} <= targets, command
        elif words and not any(mark in command for mark in TEMPLATES):
            try:
                check(words, planned=page.name != "README.md")
            except Exception as error:
                raise AssertionError(f"{page.name}: {command}\n{error}") from error


def test_a_command_that_does_not_exist_is_found(folder):
    for wrong in ("distil @ embedded", "run @ embeded", "run --training.epoch 2", "run --training.epochs 0", "serve a b", "ask", "--vers"):
        with pytest.raises(Exception, match=r"no command|No recipe|Unknown setting|greater than 0|unexpected extra|Missing|assert"):
            check(shlex.split(wrong))
    for wrong in ("--data.train 701", "--max_usd 1"):
        with pytest.raises(ValueError, match=r"701 were asked for|needs a price"):
            check(shlex.split(f"run @ embedded --task jsonl --task.path questions.jsonl {wrong}"))
    check(shlex.split("run @ embedded --task jsonl --task.path questions.jsonl --dry-run"))


def test_commands_are_found_where_they_stand(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Call `divide-or-conquer doctor`, not `doctor`.\n\n    divide-or-conquer run @ x \\\n        --seed 1   # all\n    make test\n\n"
        "```bash\nsrun divide-or-conquer study @ study\n```\n\n```python\ndivide-or-conquer no\n```\n"
    )
    found = [words_of(command) for command in commands_in(page)]
    assert found == [
        ("divide-or-conquer", ["run", "@", "x", "--seed", "1"]),
        ("make", ["test"]),
        ("divide-or-conquer", ["study", "@", "study"]),
        ("divide-or-conquer", ["doctor"]),
    ]


def is_setting(name):
    section, key = section_of(name)
    return section is not None and (key in section.model_fields or section is TaskConfig)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_a_page_names_by_their_flags_exist(page):
    named = {flag.rstrip(".") for flag in FLAG.findall(page.read_text())} - {"section.key"}
    assert not [name for name in named if not OPEN.fullmatch(name) and not is_setting(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_and_toml_of_a_page_are_whole(page, tmp_path):
    for language, text in blocks(page):
        if language == "python":
            ast.parse(text)
        if language == "toml" and "[project" not in text:
            tomllib.loads(text)
            (tmp_path / "shown.toml").write_text(text)
            load_config(str(tmp_path / "shown.toml"))
