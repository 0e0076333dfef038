"""What a notebook shows of a distillation: what was trained, on how many rows, and what became of the teacher's samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from optimizers.reports.blocks import Section, Table, Text, count_text, reasons_text, usd_text
from programs.lms.ledger import Usage


def distilled_sections(
    predictors: Sequence[tuple[str, str, int, int]], fates: Mapping[str, int], costs: Collection[Usage], unscored: str = "", traced: int = 0
) -> list[Section]:
    """A row a predictor, the screening, and what the teacher cost.

    Args:
        predictors: Name, model string (empty before the training), rows of the teacher's and rows in all of each.
        fates: Numbers of the teacher's samples: `kept`, or by the reason why not.
        costs: Of the teacher's stages.
        unscored: What went wrong in the metric; empty if nothing did.
        traced: How many of the samples were taken from traces.
    """
    rows = [[name, model or "not trained", count_text(own), count_text(total)] for name, model, own, total in predictors]
    texts = [Text(f"Teacher samples: {reasons_text(fates)}.")] if fates else []
    if traced:
        texts.append(Text(f"From traces: {count_text(traced)} of these samples, for which no decomposer was asked."))
    if costs:
        paid = sum(costs, Usage())
        tokens = count_text(paid.input_tokens + paid.output_tokens)
        cached = f" ({count_text(paid.cached_tokens)} from a prompt cache)" if paid.cached_tokens else ""
        texts.append(Text(f"Labelling: {count_text(paid.calls)} calls, {tokens} tokens{cached}, {usd_text(paid.usd)}."))
    if unscored:
        texts.append(Text(f"Unscored: {unscored}.", "warning"))
    table = Table(["predictor", "model", "the teacher's rows", "rows"], rows, frozenset({0, 1}))
    return [Section("", [table, *texts])]
