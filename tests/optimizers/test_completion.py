"""What a shell completes, asked as a shell asks it."""

import os
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command

from optimizers.cli import app


@pytest.fixture
def completed(monkeypatch, capsys):
    """The completions of the last word of a line, by Typer's protocol for bash."""

    def ask(line):
        words = line.split(" ")
        monkeypatch.setenv("_DIVIDE_OR_CONQUER_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"divide-or-conquer {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            get_command(app).main(args=[], prog_name="divide-or-conquer")
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sch", {"schema"}),
        ("run --training.epo", {"--training.epochs"}),
        ("experiment --experiment.ab", {"--experiment.ablations"}),
        ("run --dry", {"--dry-run"}),
        ("run @ emb", {"embedded"}),
        ("run @emb", {"@embedded"}),
        ("run --task js", {"jsonl"}),
        ("run --task.name gs", {"gsm8k"}),
        ("run @ embedded --task.ho", {"--task.hops"}),
        ("run @ embedded --task jsonl --task.sco", {"--task.scorer"}),
        ("run --training.method ", {"lora", "full"}),
        ("run --labelling.partial t", {"true"}),
        ("run --screening.policy self", {"self_consistency"}),
        ("run --teacher embedded/t", {"embedded/teacher"}),
        ("run --experiment.students.mine.adapter line-", {"line-terse"}),
        ("run --improve.task mult", {"multihop"}),
        ("run --screening.measure judge,ag", {"judge,agreement"}),
        ("run --experiment.ablations rows,li", {"rows,limit"}),
        ("compile --compile.optimizer G", {"GEPA"}),
        ("experiment --stages label,dis", {"label,distill"}),
        ("distill --redo S_C", {"S_C-T"}),
        ("fetch qwen2.5-coder-0", {"qwen2.5-coder-0.5b"}),
        ("serve embedded/s", {"embedded/strict"}),
    ],
)
def test_a_word_is_completed(completed, line, expected):
    assert set(completed(line)) == expected


def test_what_is_free_is_left_to_the_shell(completed):
    """Nothing of ours, so that bash and zsh offer files."""
    assert completed("run --task.path ") == [] and completed("run --out ru") == []


def test_flags_are_all_settings_and_no_placeholder(completed):
    flags = completed("run @ embedded --")
    assert {"--redo", "--teacher", "--task.schema", "--study.trials", "--improve.dpo.beta"} <= set(flags)
    assert not [flag for flag in flags if "NAME" in flag or flag == "--training.base"] and len(flags) == len(set(flags))


def test_a_broken_recipe_ends_no_completion(completed, tmp_path):
    (tmp_path / "broken.toml").write_text("task = [")
    assert "--training.method" in completed(f"run @ {tmp_path}/broken.toml --training.met")
    assert completed("run @ no/such.toml --task.hop") == ["--task.hops"]
    assert completed("run --task nosuch --task.") == ["--task.name"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_script_for_bash_completes_in_bash(tmp_path):
    command = tmp_path / "divide-or-conquer"
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.argv[0] = {command.name!r}; import optimizers.cli as c; c.main()" "$@"\n'
    )
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run([command, "--show-completion", "bash"], env=environment, capture_output=True, text=True, check=True).stdout
    asked = 'COMP_WORDS=(divide-or-conquer run "@" embed); COMP_CWORD=3; _divide_or_conquer_completion divide-or-conquer'
    found = subprocess.run(
        ["bash", "--norc", "-c", f'{script}\n{asked}; echo "${{COMPREPLY[@]}}"'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["embedded"]
