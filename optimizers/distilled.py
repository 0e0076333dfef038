"""What a distillation did, and what became of the rows that it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizers.finetune.rows import LeftOut, teachers_own
from optimizers.labelling.samples import Collected, Sample
from optimizers.reports.distilled import distilled_sections
from optimizers.reports.frames import ANY, COUNT, FLAG, SHARE, WORDS, frame
from optimizers.reports.notebook import fragment
from optimizers.screening.policy import Decision, Policy
from optimizers.screening.screen import count_drops
from programs.lms.artifacts import Artifact
from programs.lms.ledger import Usage

if TYPE_CHECKING:
    from pandas import DataFrame


class TooFewRowsError(ValueError):
    """Screening left fewer rows than a training needs; nothing was trained, the traces are kept."""


@dataclass(repr=False)
class Distilled:
    """What a distillation did, attached to the compiled program as `.distilled`.

    Attributes:
        artifacts: Predictor name -> the model that was trained for it.
        rows: Predictor name -> training rows (`id` and `messages`); those that no teacher wrote bear their `origin`, and
            stand behind the others.
        decisions: One per (example, sample): kept, or the reason why not.
        collected: The teacher's samples and what they cost.
        policy: What judged them; one that asks has its replies and their cost in `.asked`.
        left_out: Kept calls that no row could be made of, with the reason.
        unscored: What went wrong in the metric, in words; empty if nothing did.
        repeated: Further rows that were not made since they repeat a question of `reported`.
        judging: What the metric has asked of LMs this time, which is no part of `collected.usage`.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    collected: Collected | None = None
    policy: Policy | None = None
    left_out: list[LeftOut] = field(default_factory=list)
    unscored: str = ""
    repeated: list[dict[str, Any]] = field(default_factory=list)
    judging: Usage = field(default_factory=Usage)

    def __repr__(self) -> str:
        models = {name: str(artifact.model_string) for name, artifact in self.artifacts.items()}
        rows = {name: len(rows) for name, rows in self.rows.items()}
        return f"Distilled(models={models}, rows={rows}, kept {sum(one.kept for one in self.decisions)} of {len(self.decisions)} samples)"

    def decisions_frame(self) -> DataFrame:
        """A row a teacher sample: kept, or the reason why not.

        Returns:
            id (`object`), sample, number of the teacher's run (`Int64`), kept (`boolean`), reason, state of the decomposition (`string`),
            score of the teacher's own answer, from 0 to 1, missing where the policy did not ask (`float64`), cut_off (`boolean`).
        """
        records = ({**asdict(one), "id": one.example_id, "kept": one.kept} for one in self.decisions)
        columns = {"id": ANY, "sample": COUNT, "kept": FLAG, "reason": WORDS, "state": WORDS, "score": SHARE, "cut_off": FLAG}
        return frame(records, columns)

    def _repr_html_(self) -> str:
        found = [
            (name, str(artifact.model_string) if (artifact := self.artifacts.get(name)) else "", len(teachers_own(rows)), len(rows))
            for name, rows in self.rows.items()
        ]
        fates = Counter(decision.reason or "kept" for decision in self.decisions)
        costs = self.collected.usage.values() if self.collected else ()
        traced = self.collected.traced if self.collected else 0
        return fragment("Distilled", distilled_sections(found, fates, costs, self.unscored, traced))


def check_rows(distilled: Distilled, min_rows: int, samples: Path) -> None:
    """Refuse to train a target on too few of the teacher's rows.

    Args:
        distilled: With the rows of each target.
        min_rows: Fewest rows to train on.
        samples: The file with the teacher's samples, for the message.

    Raises:
        TooFewRowsError: Fewer than `min_rows`; says what became of the others.
    """
    for name, rows in distilled.rows.items():
        if len(own := teachers_own(rows)) < min_rows:
            drops = count_drops(distilled.decisions).items()
            dropped = ", ".join(f"{count} {reason}" for reason, count in drops) or "none dropped"
            raise TooFewRowsError(
                f"Only {len(own)} rows for {name!r}, at least {min_rows} are needed; nothing was trained. Of "
                f"{len(distilled.decisions)} teacher samples: {dropped}.{_why(name, distilled)} Add questions, look at "
                f"{samples}, or lower min_rows (--screening.min_rows)."
            )


def left_out_words(calls: Sequence[LeftOut]) -> str:
    """Kept calls without a row, in words: how many, why, and the first of each kind."""
    first: dict[tuple[str, str], LeftOut] = {}
    for call in calls:
        first.setdefault((call.predictor, call.reason), call)
    counts = Counter((call.predictor, call.reason) for call in calls)
    shown = [
        f"{count} of {name!r}, as {reason} (first: example {first[name, reason].example_id!r})"
        for (name, reason), count in counts.most_common(3)
    ]
    return f"{len(calls)} calls give no row: {'; '.join(shown)}."


def _why(name: str, distilled: Distilled) -> str:
    """What else is known of rows that are missing: failed runs, metrics, calls that give no row, and a predictor never called."""
    said = [f"{reason} first at {first}." for reason, first in (distilled.collected.first_failures if distilled.collected else {}).items()]
    said += [f"Unscored: {distilled.unscored}."] if distilled.unscored else []
    mine = [call for call in distilled.left_out if call.predictor == name]
    said += [left_out_words(mine)] if mine else []
    samples: Iterable[Sample] = distilled.collected.samples if distilled.collected else []
    called = {call.predictor for sample in samples for call in sample.calls}
    if not called and any(sample.failure is None for sample in samples):
        said.append(
            "The teacher's runs show no call of any predictor: threads of its own are not seen. Start them by dspy.Parallel or "
            "module.batch, or by contextvars.copy_context().run."
        )
    if called and name not in called:
        said.append(f"The teacher never called {name!r}, only {sorted(called)} ('?' is made in `forward`, and has no name).")
    return "".join(f" {one}" for one in said)
