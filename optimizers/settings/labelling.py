"""How the teacher is asked: the section `labelling`."""

from __future__ import annotations

from pydantic import Field

from optimizers.settings.section import LimitedSection


class LabellingConfig(LimitedSection):
    """How the teacher is asked, and where it stops."""

    samples: int = Field(1, ge=1)
    """Decompositions a question; more than one needs a temperature."""
    temperature: float | None = Field(None, ge=0)
    """Of the teacher's samples; the teacher's own, if not given."""
    threads: int = Field(16, ge=1)
    """Questions at a time."""
    failure_share: float = Field(0.2, gt=0, le=1)
    """Share of failed questions at which labelling stops."""
    partial: bool = False
    """Go on with what there is when a limit or the failure share stopped labelling."""
