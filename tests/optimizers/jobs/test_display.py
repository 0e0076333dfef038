"""How progress is shown on a terminal, in a file, and in a real kernel."""

import io
import re
import sys
import threading
import time

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

from optimizers.jobs import display as shown_by
from optimizers.jobs.display import VARIABLE, ProgressDisplay, showing
from optimizers.jobs.progress import expect, no_progress


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def terminal(shown):
    return Console(file=shown, width=120, force_terminal=True, force_jupyter=False)


def job(show, calls=2000):
    expect(show, lambda: {"label train": 1.0, "evaluate a": 1.0})
    for stage in ("label train", "evaluate a"):
        for call in range(calls + 1):
            show(stage, call, calls, "")


def test_a_file_gets_few_lines_each_with_the_time(monkeypatch):
    shown = io.StringIO()
    with showing(None, Console(file=shown)) as show:
        job(show)
    lines = shown.getvalue().splitlines()
    assert 2 <= len(lines) <= 3
    for line in lines:
        time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")
    assert "label train: 0/2000" in lines[0] and "whole job: 100%; evaluate a: 2000/2000" in lines[-1]


def test_lines_come_while_nothing_is_told(monkeypatch):
    """A slow call is no dead job."""
    monkeypatch.setattr(shown_by, "_LINE_SECONDS", (0.2, 0.2))
    monkeypatch.setattr(shown_by._Lines, "seconds", 0.05)
    shown = io.StringIO()
    with showing(None, Console(file=shown)) as show:
        show("label train", 0, 9, "")
        time.sleep(1.2)
    assert 4 <= len(shown.getvalue().splitlines()) <= 8


def test_a_terminal_gets_bars_and_what_others_print_stands_once():
    shown = io.StringIO()
    with showing(None, terminal(shown)) as show:
        show("label train", 1, 2, "1 failed")
        print("a bar of DSPy's", file=sys.stderr)
        show("label train", 2, 2, "1 failed")
    assert shown.getvalue().count("a bar of DSPy's") == 1
    assert "━" in shown.getvalue() and "2/2" in shown.getvalue() and "1 failed" in shown.getvalue()


def test_hundreds_of_stages_leave_few_rows():
    display = ProgressDisplay(Console(file=io.StringIO()))
    for number in range(300):
        display(f"evaluate {number}/300 a", 5, 5)
    display("evaluate 300/300 a", 1, 5)
    table = Console(file=io.StringIO(), record=True, width=120)
    table.print(display._stages.rendered(120))
    lines = table.export_text().splitlines()
    assert len(lines) == 8 and "300/300" in lines[-1] and "293/300" in lines[0]


def test_nothing_is_drawn_where_nothing_was_told():
    for console in (Console(file=io.StringIO()), terminal(io.StringIO())):
        with pytest.raises(ValueError, match="bad"), showing(None, console):
            raise ValueError("bad")
        assert not re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", console.file.getvalue()).strip()


def test_a_display_inside_another_draws_nothing():
    outer, inner = io.StringIO(), io.StringIO()
    with showing(None, Console(file=outer)) as show:
        show("label train", 1, 2, "")
        with showing(None, Console(file=inner)) as other:
            other("label train", 1, 2, "")
    with showing(None, Console(file=inner)) as show:
        show("label train", 2, 2, "")
    assert inner.getvalue().count("label train") == 1 and "2/2" in inner.getvalue()


@pytest.mark.parametrize(
    ("value", "progress", "lines"), [("off", None, 0), ("off", True, 1), ("auto", False, 0), ("LINES", None, 1), ("", None, 0)]
)
def test_the_argument_and_the_variable(monkeypatch, value, progress, lines):
    """`True` takes `off` back; `lines` holds on a terminal too, where bars are usual."""
    monkeypatch.setenv(VARIABLE, value)
    shown = io.StringIO()
    with showing(progress, Console(file=shown) if value == "off" else terminal(shown)) as show:
        show("label train", 1, 2, "")
    assert len([line for line in shown.getvalue().splitlines() if line.startswith("20")]) == lines
    assert bool(shown.getvalue()) == (progress is not False and not (value == "off" and progress is None))


def test_a_bad_value_of_the_variable_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "loud")
    with pytest.raises(ValueError, match=r"DIVIDE_OR_CONQUER_PROGRESS='loud' is none of \['auto', 'lines', 'off'\]"), showing(None):
        pass


def test_a_function_is_called_as_it_is():
    told = []
    with showing(lambda *report: told.append(report)) as show:
        job(show, calls=1)
    assert told[0] == ("label train", 0, 1, "") and len(told) == 4


def test_an_outline_is_worked_out_for_a_display_alone():
    def never():
        raise AssertionError

    expect(no_progress, never)

    def refused():
        raise ValueError("no plan")

    shown = io.StringIO()
    with ProgressDisplay(Console(file=shown)) as display:
        expect(display, refused)
        display("label train", 1, 2)
    assert "whole job" not in shown.getvalue() and "label train: 1/2" in shown.getvalue()


def test_threads_may_tell_at_once():
    shown = io.StringIO()
    with showing(None, terminal(shown)) as show:
        threads = [threading.Thread(target=lambda n=n: [show(f"evaluate {n}", i, 200, "") for i in range(201)]) for n in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert shown.getvalue().count("200/200") >= 8


CELL = """
import time
from optimizers.jobs.display import showing
from optimizers.jobs.progress import expect
with showing(None) as show:
    expect(show, lambda: {"label train": 1.0, "evaluate <b>": 1.0})
    for stage in ("label train", "evaluate <b>"):
        for call in range(301):
            show(stage, call, 300, "<script>" if call > 9 else "")
            time.sleep(0.005)
"""

IMPORTS = """
import programs
from tqdm.auto import tqdm  # what DSPy, Transformers and Datasets import
from programs.modules import TwoStage
"""


def executed(*cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_notebook_gets_one_display_without_ipywidgets_or_warnings(monkeypatch):
    progress, imports = executed(CELL, IMPORTS)
    assert [output.output_type for output in progress] == ["display_data"] and imports == []
    page, text = progress[0].data["text/html"], progress[0].data["text/plain"]
    assert "300/300" in page and "100%" in page and "evaluate &lt;b&gt;" in page and "<script>" not in page
    assert "whole job" in text and "evaluate <b>" in text
