"""The report of a run: which sections it has, in reading order.

Nothing here or in a section knows how a report looks; `optimizers.reports.write` writes the same sections as markdown and as
HTML. A number stands in one only if a file of the run holds it or it follows from such numbers; what is missing is said to be
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from optimizers.reports.blocks import Section, missing_text
from optimizers.reports.cascades import FIGURE
from optimizers.reports.left_out import gathered
from optimizers.reports.read import RunFiles, read_run
from optimizers.reports.write import write_sections
from programs.registry import Registry

FIGURES = ("accuracy.png", "tokens.png", "rows.png", "training.png")

SECTIONS: Registry[Callable[[RunFiles], list[Section]]] = Registry(
    "section of a run's report",
    "divide_or_conquer.report_sections",
    {
        "in_short": "optimizers.reports.headlines:in_short",
        "setting": "optimizers.reports.setting:setting",
        "scores": "optimizers.reports.scores:scores",
        "comparisons": "optimizers.reports.comparisons:comparisons",
        "cascades": "optimizers.reports.cascades:cascades",
        "costs": "optimizers.reports.run_costs:costs",
        "rows": "optimizers.reports.training:rows",
        "screening": "optimizers.reports.screening:screening_sections",
        "training": "optimizers.reports.training:training",
        "questions": "optimizers.reports.run_questions:questions",
    },
)
"""Parts of a run's report by name, in reading order: a function that makes sections, or none, of the files of a run."""


def write_report(run_dir: Path) -> list[Path]:
    """Write `report.md`, `report.html` and `figures/*.png` of a run folder from what it holds.

    Works on a run that is not finished: what is missing is said to be missing, and figures of an earlier report that can
    no longer be drawn are removed. Files are replaced whole, so a reader never sees half of one.

    Args:
        run_dir: A run folder. `metrics.json`, `config.toml`, `predictions/*.jsonl`, `rows.jsonl` and
            `student/*/progress.jsonl` are read, each if it is there.

    Returns:
        The files written: the two reports, then the figures.

    Raises:
        FileNotFoundError: `run_dir` is no run folder.
        ValueError: A file in it is not what it should be; names the file.
    """
    run_dir = Path(run_dir)
    return write_sections(run_dir, gathered(sections(read_run(run_dir))), earlier=(*FIGURES, FIGURE))


def sections(run: RunFiles) -> list[Section]:
    """The report of `run`: the sections of `SECTIONS`, those of other packages behind the own ones."""
    return [section for name in SECTIONS.names() for section in _made(name, run)]


def _made(name: str, run: RunFiles) -> list[Section]:
    """The sections of a name; one of another package that fails is said to have failed, as the others are worth reading."""
    if SECTIONS.is_own(name):
        return SECTIONS.get(name)(run)
    try:
        found = SECTIONS.get(name)(run)
        if not isinstance(found, list) or not all(isinstance(section, Section) for section in found):
            raise TypeError(f"it gave {found!r:.200} in place of a list of sections")
    except Exception as error:
        return [Section(name, [missing_text(f"This section could not be made: {type(error).__name__}: {error}")])]
    return found
