"""What a report says of screening without reference answers; nothing where every policy used them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizers.reports.blocks import Section, Table, Text, count_text, is_number, percent, percent_interval, reasons_text, usd_text
from optimizers.reports.read import RunFiles
from optimizers.reports.tokens import input_text

_TEXT = (
    "Each policy against the reference answers, on the same samples of the teacher, before duplicates go: precision is the share of "
    "right ones among those kept, recall the share kept of those that are right. The policies themselves saw no reference. 'none' keeps "
    "all that can be read, so its precision is the teacher's own score. Calls from cache were made before, in labelling or for another "
    "sample."
)

_COLUMNS = ("Samples", "Kept", "Precision", "95% interval", "of", "Recall", "95% interval", "of")

_COST = ("Calls", "From cache", "Input tokens", "Output tokens", "Seconds", "US dollars", "Dropped")


def screening_sections(run: RunFiles) -> list[Section]:
    """One section with a line a policy; none where no policy without reference answers was run."""
    records = run.records("screening")
    if not records:
        return []
    places = ["Trained on", "Variant"] if any("train" in record for record in records) else []
    rows = [[*(str(record.get(key) or "-") for key in ("train", "variant")[: len(places)]), *policy_row(record)] for record in records]
    columns = [*places, "Policy", *_COLUMNS, *_COST]
    words = frozenset([*range(len(places) + 1), len(columns) - 1])
    return [Section("Screening without reference answers", [Text(_TEXT), Table(columns, rows, words)])]


def policy_table(records: list[dict[str, Any]]) -> Table:
    """The table alone, of what `measuring.measure` gave."""
    return Table(["Policy", *_COLUMNS, *_COST], [policy_row(record) for record in records], frozenset({0, len(_COLUMNS) + len(_COST)}))


def policy_row(record: Mapping[str, Any]) -> list[str]:
    """Cells of one policy, its name first."""
    cells = [str(record.get("policy")), count_text(record.get("samples")), count_text(record.get("kept"))]
    for key in ("precision", "recall"):
        share = record.get(key) or {}
        cells += [percent(share.get("estimate")), percent_interval(share), count_text(share.get("n"))]
    cost = record.get("cost") or {}
    cells += [*(count_text(cost.get(key)) for key in ("calls", "cache_hits")), input_text(cost), count_text(cost.get("output_tokens"))]
    seconds = f"{cost['seconds']:,.1f}" if is_number(cost.get("seconds")) else "n/a"
    return [*cells, seconds, usd_text(cost.get("usd")), reasons_text(record.get("dropped") or {})]
