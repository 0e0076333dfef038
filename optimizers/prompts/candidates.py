"""Every candidate that a prompt optimizer tries, seen from the program that it asks: scores, failures and cost by question.

DSPy's optimizers keep books in eight ways, and some in none. But all of them ask copies of the program that they were given,
so the program itself writes down under which prompts it was asked, and the metric what came of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import dspy

from optimizers.evaluation.statistics import Comparison, Interval, mean_interval
from optimizers.jobs.jsonlines import append_line, read_json, read_lines
from optimizers.jobs.scorer_costs import score_metered
from optimizers.labelling.journal import digest
from optimizers.prompts.feedback import feedback
from optimizers.reports.blocks import Section, percent
from optimizers.reports.compilation import candidates, in_short, title
from optimizers.reports.frames import ANY, COMPARISON, COUNT, FLAG, SHARE, USAGE, WORDS, comparison_record, frame
from optimizers.reports.notebook import ShownResult
from programs.compiled.few_shot import FewShot
from programs.lms.ledger import Ledger, Usage, recording
from programs.modules import TwoStage
from programs.tasks.base import Task

if TYPE_CHECKING:
    from pandas import DataFrame

VALIDATION, TRAIN, DEV = "validation", "train", "dev"


@dataclass
class Candidate:
    """One set of prompts.

    Attributes:
        key: Hash of them.
        number: In the order of their first question; 0 is the uncompiled program.
        stages: Stage -> state of its predictor, without LM.
        scores: Split -> question id -> score in [0, 1]; None where it cannot be judged.
        failures: Question id -> what failed: a call, or the metric.
        usage: Question id -> cost of its last answer.
        passages: Question id -> its passage, by which intervals go too; missing where it has none.
    """

    key: str
    number: int
    stages: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    passages: dict[str, str] = field(default_factory=dict)

    def interval(self, split: str = VALIDATION) -> Interval:
        """Mean score on a split with its 95 % interval."""
        scores = self.scores.get(split, {})
        return mean_interval(list(scores.values()), passages=[self.passages.get(one, one) for one in scores])

    def asked(self, split: str) -> int:
        """How many questions of a split were asked."""
        return len(self.scores.get(split, {}))

    def cost(self) -> Usage:
        """Of one answer to each of its questions."""
        return sum(self.usage.values(), Usage())


class Watch:
    """Where `Watched` programs write down what they are asked; for all threads.

    Attributes:
        candidates: By key.
        answered: Answers so far.
        rescue: `rescue(example, prediction)`: whether the reference subquestions would have led to the right answer.

    Args:
        task: Scores the answers.
        splits: Split -> questions, which must differ in question or context.
        stages: Whose prompts make a candidate.
        ledger: Counts what the calls cost.
        log: JSONL file, a line an answer.
        report: Called with the number of answers so far.
        unread: Whether a reply that could not be read goes into the trace, for an optimizer that reflects on it.
    """

    def __init__(
        self,
        task: Task,
        splits: Mapping[str, Sequence[dspy.Example]],
        stages: Sequence[str],
        ledger: Ledger,
        log: Path,
        report: Callable[[int], None] = lambda answered: None,
        unread: bool = False,
    ) -> None:
        self.candidates: dict[str, Candidate] = {}
        self.splits, self.stages, self.ledger, self.unread = splits, list(stages), ledger, unread
        self.answered = 0
        self.rescue: Callable[[dspy.Example, Any], bool | None] | None = None
        self._task, self._report = task, report
        self._places = {_place(example): (split, example.id) for split, examples in splits.items() for example in examples}
        self._lock = threading.Lock()
        self._log = log.open("w")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def close(self) -> None:
        """Release the log."""
        self._log.close()

    def candidate(self, program: dspy.Module) -> Candidate:
        """The candidate that `program` is, a new one if its prompts are."""
        states = {stage: _prompts(getattr(program, stage)) for stage in self.stages}
        key = digest(states)[:8]
        with self._lock:
            return self.candidates.setdefault(key, Candidate(key, len(self.candidates), states))

    def is_complete(self, candidate: Candidate) -> bool:
        """Whether the candidate was asked every validation question."""
        return candidate.asked(VALIDATION) >= len(self.splits[VALIDATION])

    def metric(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """The task's metric, which never raises: an answer that it fails on counts 0 and is noted."""
        return self._scored(example, prediction)[0]

    def _scored(self, example: dspy.Example, prediction: Any) -> tuple[float, str]:
        """The score, and what the scorer says of it."""
        candidate, usage = getattr(prediction, "_watched", (None, None))
        try:
            score = score_metered(self._task, example, prediction)
            value, failure, said = (None if score.is_unscored else float(score.value)), None, score.detail
        except Exception as error:
            value, said, failure = 0.0, "", f"metric: {type(error).__name__}: {error}"[:300]
        if candidate is not None:
            self._note(candidate, _place(example), value, failure, usage)
        return value or 0.0, said

    def feedback(self, gold: dspy.Example, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None) -> Any:
        """`metric` for GEPA, with words on the stage that it looks at."""
        score, said = self._scored(gold, pred)
        if pred_name is None:
            return dspy.Prediction(score=score, feedback=None)
        rescued = self.rescue(gold, pred) if self.rescue and score < 1 else None
        return dspy.Prediction(score=score, feedback=feedback(gold, pred, pred_name.split(".")[0], score, rescued, said))

    def failed(self, candidate: Candidate, question: str, context: str, error: Exception) -> None:
        """Note a question that the program raised on; DSPy counts it 0."""
        self._note(candidate, (question, context), 0.0, f"{type(error).__name__}: {error}"[:300], None)

    def _note(self, candidate: Candidate, place: tuple[str, str], score: float | None, failure: str | None, usage: Usage | None) -> None:
        split, example_id = self._places.get(place, ("other", place[0]))
        line = {"candidate": candidate.key, "split": split, "id": example_id, "score": score, "failure": failure}
        with self._lock:
            candidate.scores.setdefault(split, {})[example_id] = score
            if place[1]:
                candidate.passages[example_id] = place[1]
            candidate.failures.pop(example_id, None)
            if failure:
                candidate.failures[example_id] = failure
            if usage:
                candidate.usage[example_id] = usage
            self.answered += 1
            if not self._log.closed:
                append_line(self._log, line)
        self._report(self.answered)


class Watched(TwoStage):
    """A `TwoStage` that tells a `Watch` what it is asked, and with which prompts."""

    def __init__(self, watch: Watch, **options: Any) -> None:
        super().__init__(**options)
        self.watch = watch

    def forward(self, question: str, context: str = "") -> dspy.Prediction:
        """As of `TwoStage`, without `usage`, which differs from run to run and would get into prompts."""
        candidate = self.watch.candidate(self)
        try:
            with recording(self.watch.ledger):
                prediction = super().forward(question=question, context=context)
        except Exception as error:
            self.watch.failed(candidate, question, context, error)
            raise
        if self.watch.unread:
            self._trace_unread(prediction, question, context)
        usage = sum((Usage.from_dict(stage) for stage in prediction.usage.values()), Usage())
        shown = dspy.Prediction(**{name: value for name, value in prediction.items() if name not in ("usage", "lines")})
        shown._watched = (candidate, usage)
        return shown

    def _trace_unread(self, prediction: dspy.Prediction, question: str, context: str) -> None:
        # DSPy's trace has no line of a call whose reply could not be read: nobody could learn from it.
        trace = dspy.settings.trace
        if trace is None:
            return
        if prediction.state == "unparseable" and isinstance(self.decompose, dspy.Predict):
            inputs = self.decompose_inputs(question, context)
            self._add(trace, self.decompose, inputs, dspy.Prediction(subquestions=prediction.lines))
        if prediction.unparsed and isinstance(self.solve, dspy.Predict):
            inputs = {"context": context, "question": question, "subquestions": prediction.subquestions}
            self._add(trace, self.solve, inputs, dspy.Prediction(sub_answers=[], answer=prediction.answer))

    def _add(self, trace: list[Any], predictor: dspy.Predict, inputs: dict[str, Any], reply: dspy.Prediction) -> None:
        if not any(step[0] is predictor for step in trace):
            trace.append((predictor, inputs, reply))


def _place(example: dspy.Example) -> tuple[str, str]:
    return example.question, example.get("context") or ""


def _prompts(predictor: FewShot) -> dict[str, Any]:
    state = {"traces": [], "train": [], "demos": predictor.usable_demos(), "signature": predictor.signature.dump_state(), "lm": None}
    return state if predictor.nearest is None else {**state, "nearest": predictor.nearest}


@dataclass(repr=False)
class Compiled(ShownResult):
    """What `compile_prompts` found; in a notebook it shows its candidates.

    Attributes:
        optimizer: Its name.
        program: The best program, on the teacher's LM.
        folder: Where all is kept; `program.json` there is what `teacher.program` takes.
        candidates: All that was tried, in the order of their first question; the first is the uncompiled program.
        best: Of those scored on every validation question, the one with the highest score.
        found: What the optimizer returned; None if it did not come to an end.
        dev: `best` against the uncompiled program on the questions kept back; None without them, or if they are the same.
        incomplete: Why it ended before its time; None if it did not.
        failed: Whether that was an error, and no limit.
        paid: What all LM calls for the folder cost, over all runs.
    """

    optimizer: str
    program: TwoStage
    folder: Path
    candidates: list[Candidate]
    best: Candidate
    found: Candidate | None
    dev: Comparison | None
    incomplete: str | None
    failed: bool
    paid: Usage

    def candidates_frame(self) -> DataFrame:
        """A row a candidate; the dtypes are those of the frames of `Run`.

        Returns:
            number (`Int64`), key (`string`), best (`boolean`); n, number of validation questions (`Int64`), score on them, from 0 to 1, low
            and high, its 95 % interval (`float64`); failed, number of questions (`Int64`); input_tokens and output_tokens (`Int64`),
            seconds and usd, dollars (`float64`), of one answer to each question.
        """
        columns = {"number": COUNT, "key": WORDS, "best": FLAG, "n": COUNT, **dict.fromkeys(("score", "low", "high"), SHARE)}
        return frame(map(self._record, self.candidates), {**columns, "failed": COUNT, **USAGE})

    def _record(self, one: Candidate) -> dict[str, Any]:
        found = one.interval()
        scored = {"n": found.n, "score": found.estimate, "low": found.low, "high": found.high, "failed": len(one.failures)}
        return {"number": one.number, "key": one.key, "best": one is self.best, **scored, **one.cost().to_dict()}

    def comparisons(self) -> DataFrame:
        """The best against the uncompiled program on the dev questions, in a row with the columns of `Run.comparisons`."""
        named = {"a": f"candidate {self.best.number}", "b": f"candidate {self.candidates[0].number}"}
        return frame([{**comparison_record(self.dev.to_dict()), **named}] if self.dev else [], COMPARISON)

    def predictions(self) -> DataFrame:
        """A row an answer that was scored, in their order.

        Returns:
            candidate, its key, split (`string`), id (`object`), score, from 0 to 1 (`float64`), failure (`string`).
        """
        columns = {"candidate": WORDS, "split": WORDS, "id": ANY, "score": SHARE, "failure": WORDS}
        return frame(read_lines(self.folder / "evaluations.jsonl"), columns)

    def shown(self) -> tuple[str, list[Section]]:
        """What its report says in short, and the candidates."""
        found = read_json(self.folder / "compiled.json")
        if not found:
            raise ValueError(f"{self.folder} has no compiled.json any more; the frames need none.")
        return f"Compiled by {title(found)}, in {self.folder}", [in_short(found), candidates(found)]

    def __repr__(self) -> str:
        said = f"{len(self.candidates)} candidates, best {self.best.number} with {percent(self.best.interval().estimate)}"
        return f"Compiled({str(self.folder)!r}): {said}"
