"""Training rows: the teacher's kept samples as the chats in which a student will be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy

from optimizers.evaluation.leakage import Repeats
from optimizers.finetune.augment import AugmentSpec, augment
from optimizers.finetune.entity_slots import Labelled
from optimizers.finetune.targets import RowError, chat
from optimizers.labelling.journal import digest
from optimizers.labelling.samples import Call, Collected, Sample
from programs.adapter import adapter_by_name
from programs.signatures import NO_DECOMPOSITION
from programs.tasks import equal_answers

Row = dict[str, Any]
Rewrite = Callable[[dict[str, Any], dspy.Example], dict[str, Any]]
"""`rewrite(outputs, example) -> outputs`: what a student learns to write in place of the teacher's outputs."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A kept call of the teacher that no row could be made of.

    Attributes:
        predictor: Its name.
        example_id: The example's `id`.
        sample: Number of the teacher's run on it.
        reason: Why not, in words.
    """

    predictor: str
    example_id: str
    sample: int
    reason: str


@dataclass(frozen=True)
class RowMaker:
    """Renders rows for the predictors that are trained.

    Attributes:
        targets: Predictor name -> the student's predictor, whose signature and demos the chats are rendered with.
        adapter: Name of the prompt format.
        rewrite: Changes the target; None keeps the teacher's outputs.
        max_rows: How many rows of a target to take, at most; None takes all.
        row_seed: Seed of that draw.
        augment: Which further rows are made of those of a predictor that decomposes.
        left_out: The calls that `of` could make no row of.
        repeats: Knows the questions that further rows must not repeat, as they will be asked to measure the student.
        repeated: Gets the further rows that were not made for that reason: `question`, `sources`, and what it `repeats`.
    """

    targets: Mapping[str, dspy.Predict]
    adapter: str
    rewrite: Rewrite | None = None
    max_rows: int | None = None
    row_seed: int = 0
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    left_out: list[LeftOut] = field(default_factory=list)
    repeats: Repeats | None = None
    repeated: list[Row] = field(default_factory=list)

    def of(self, collected: Collected, kept: set[tuple[str, int]], examples: Mapping[str, dspy.Example]) -> dict[str, list[Row]]:
        """Predictor name -> rows (`id`, `sample`, `messages`) of the teacher's kept samples, in their order; one a call.

        Args:
            collected: The teacher's samples.
            kept: Example id and number of the samples that a policy kept.
            examples: By id.
        """
        rows: dict[str, list[Row]] = {name: [] for name in self.targets}
        for sample in collected.samples:
            if (sample.example_id, sample.sample) in kept:
                for call in (call for call in sample.calls if call.predictor in self.targets):
                    try:
                        rows[call.predictor].append(self._row(call, sample, examples[sample.example_id]))
                    except RowError as error:
                        self.left_out.append(LeftOut(call.predictor, sample.example_id, sample.sample, str(error)))
        return rows

    def chosen(self, rows: Mapping[str, list[Row]], collected: Collected) -> dict[str, list[Row]]:
        """The rows to train on: at most `max_rows` of each target, and behind them those that `augment` makes of these."""
        drawn = {name: self._drawn(found) for name, found in rows.items()}
        return {name: [*found, *self._further(name, found, collected)] for name, found in drawn.items()}

    def _row(self, call: Call, sample: Sample, example: dspy.Example) -> Row:
        outputs = _clean_outputs(call, sample)
        target = self._rewritten(outputs, example)
        row = {"id": sample.example_id, "sample": sample.sample, "messages": self._messages(call.predictor, call.inputs, target)}
        # Another answer above a chain that leads elsewhere (the paper's S_E-A): marked, for the reader to judge.
        both = "answer" in outputs and "answer" in target
        changed = both and outputs["answer"] != target["answer"] and not equal_answers(outputs["answer"], target["answer"])
        return {**row, "overwritten": True} if changed else row

    def _rewritten(self, outputs: dict[str, Any], example: dspy.Example) -> Mapping[str, Any]:
        if self.rewrite is None:
            return outputs
        try:
            target = self.rewrite(outputs, example)
        except Exception as error:
            raise RowError(f"rewrite raised {type(error).__name__}: {error}") from error
        if not isinstance(target, Mapping):
            raise RowError(f"rewrite returned {type(target).__name__}, where a dict of outputs is expected")
        return target

    def _messages(self, name: str, inputs: dict[str, Any], outputs: Mapping[str, Any]) -> list[dict[str, str]]:
        predictor = self.targets[name]
        return chat(adapter_by_name(self.adapter), predictor.signature, predictor.demos, inputs, outputs, partial=self.rewrite is not None)

    def _drawn(self, rows: list[Row]) -> list[Row]:
        """`max_rows` of the rows, in their order; fewer rows of the same seed are a part of more."""
        if self.max_rows is None or len(rows) <= self.max_rows:
            return rows
        turns: Counter[tuple[str, int]] = Counter()
        lots = []
        for place, row in enumerate(rows):
            run = row["id"], row["sample"]
            # The calls that a run makes of one predictor have a lot each.
            lots.append((digest([self.row_seed, *run, *([turns[run]] if turns[run] else [])]), place))
            turns[run] += 1
        return [rows[place] for place in sorted(place for _, place in sorted(lots)[: self.max_rows])]

    def _further(self, name: str, rows: list[Row], collected: Collected) -> list[Row]:
        """Rows that `augment` makes of these, marked with `origin`, `question` and `sources`."""
        if not (self.augment.is_on and decomposes(self.targets[name])):
            return []
        runs = dict.fromkeys((row["id"], row["sample"]) for row in rows)
        samples = [collected.get_sample(*run) for run in runs]
        calls = {(sample.example_id, sample.sample): _call_of(sample, name) for sample in samples}
        limits = {call.inputs.get("max_subquestions") for call in calls.values()}
        further = []
        own = [_labelled(sample, name) for sample in samples]
        for made, origin in augment(own, self.augment, next(iter(limits), None), self._repeats_a_question):
            inputs = {**calls[made.sources[0], made.sample].inputs, "question": made.question, "context": made.context}
            outputs = {"subquestions": list(made.subquestions) or [NO_DECOMPOSITION]}
            row = {"id": made.id, "sample": made.sample, "messages": self._messages(name, inputs, outputs)}
            further.append({**row, "origin": origin, "question": made.question, "sources": list(made.sources)})
        return further

    def _repeats_a_question(self, row: Labelled) -> bool:
        leak = self.repeats and self.repeats.leak(dspy.Example(id=row.id, question=row.question, context=row.context))
        if not leak:
            return False
        self.repeated.append({"question": row.question, "sources": list(row.sources or (row.id,)), "repeats": leak.test_id})
        return True


def teachers_own(rows: Iterable[Row]) -> list[Row]:
    """The rows that the teacher wrote, without those that `augment` made from them."""
    return [row for row in rows if "origin" not in row]


def decomposes(predictor: dspy.Predict) -> bool:
    """Whether a predictor turns a question into subquestions."""
    return "question" in predictor.signature.input_fields and "subquestions" in predictor.signature.output_fields


def _clean_outputs(call: Call, sample: Sample) -> dict[str, Any]:
    """A decomposition as the program read it: questions alone, each once, within the limit."""
    read = {"subquestions", "state"} <= sample.prediction.keys() and isinstance(sample.prediction["subquestions"], list)
    # A program that decomposes several times has read the last one there.
    alone = sum(other.predictor == call.predictor for other in sample.calls) == 1
    if "subquestions" not in call.outputs or not (read and alone):
        return call.outputs
    return {**call.outputs, "subquestions": sample.prediction["subquestions"] or [NO_DECOMPOSITION]}


def _call_of(sample: Sample, predictor: str) -> Call:
    return next(call for call in sample.calls if call.predictor == predictor)


def _labelled(sample: Sample, predictor: str) -> Labelled:
    """What `augment` sees of a teacher's run."""
    call = _call_of(sample, predictor)
    lines = _clean_outputs(call, sample)["subquestions"]
    subquestions = () if lines == [NO_DECOMPOSITION] else tuple(lines)
    # The last answer of a reply that was cut off is half of one.
    answers = () if sample.error else tuple(map(str, sample.prediction.get("sub_answers") or ()))
    context = call.inputs.get("context") or ""
    return Labelled(sample.example_id, sample.sample, call.inputs["question"], subquestions, answers, context)
