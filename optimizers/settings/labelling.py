"""How the teacher is asked: the section `labelling`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from optimizers.settings.section import LimitedSection


class LabellingConfig(LimitedSection):
    """How the teacher is asked, and where it stops."""

    samples: int = Field(1, ge=1, json_schema_extra={"unit": "decompositions a question"})
    """Decompositions that the teacher writes for each question; more than one needs a temperature."""
    temperature: float | None = Field(None, ge=0)
    """Sampling temperature of the teacher while labelling; the teacher's own, if not given."""
    threads: int = Field(16, ge=1, json_schema_extra={"unit": "questions at a time"})
    """Questions that are asked at a time."""
    failure_share: float = Field(0.2, gt=0, le=1, json_schema_extra={"unit": "share of the answers"})
    """Labelling stops when more than this share of the teacher's answers failed, and at least 5 did; 1 never stops."""
    partial: bool = False
    """Whether to go on with the labels that there are when a limit or too many failures stopped labelling."""
    traces: str | None = None
    """File or folder of decompositions that some program has made already, which stand in the teacher's place: JSONL, JSON, CSV or Parquet
    of questions and decompositions, of `lm.history`, or of MLflow's traces; see docs/own_data.md. A question that has one is not asked of
    the teacher, and those that the task does not have are further training questions. None, if not given."""
    trace_columns: str | None = None
    """Names of columns in `traces` that differ: `question=frage,subquestions=teile`; also `context`, `answer` (what that program answered),
    `reference` (what is right) and `id`. Refused without `traces`. None, if not given."""
    calls_from: str | None = None
    """Folder of an earlier job of the same kind whose calls are taken over into a new folder: those that are the same are not made again.
    None, if not given."""

    @model_validator(mode="after")
    def _columns_of_traces(self) -> Self:
        if self.trace_columns and not self.traces:
            raise ValueError(
                f"trace_columns={self.trace_columns!r} would have no effect, as no labelling.traces names a file with such columns: add "
                "--labelling.traces PATH, or leave it out."
            )
        return self
