"""A section of a run's report."""

from __future__ import annotations

from optimizers.reports.blocks import Section, Text
from optimizers.reports.read import RunFiles


def greeting(run: RunFiles) -> list[Section]:
    """See `optimizers.reports.run_report.SECTIONS`."""
    return [Section("A word of the stranger's", [Text(f"{len(run.conditions)} conditions were compared.")])]
