"""What a task is: where questions come from and how an answer is judged."""

from __future__ import annotations

import functools
import math
import re
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import dspy

from programs.tasks._answers import as_text, unwrapped
from programs.tasks._equality import canonical, equal_answers

SPLITS = ("train", "dev", "test")
_ROUNDING = 1e-9
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

NO_FINAL_ANSWER = "no marked final answer"
"""`Score.detail` of a reply in which the scorer finds no final answer, so that reports can count these."""
NO_JUDGEMENT = "returned None"
"""End of `Score.detail` where a metric gave no judgement."""
EMPTY_REFERENCE = "the reference answer is empty"
"""`Score.detail` of an example that has no reference to compare with."""


class ScaleError(ValueError):
    """A score outside of 0 to 1: those of the same metric that lie within it mean something else too, and none can be trusted."""


@dataclass(frozen=True)
class Score:
    """How good one answer is.

    Attributes:
        value: In [0, 1]; NaN where the answer cannot be judged, so that "not judged" is never read as "wrong".
        detail: Why, where the value alone does not say it.
        measures: Other measures of the same answer by name, each in [0, 1]: {"em": 1.0, "f1": 1.0}.
    """

    value: float
    detail: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.value, int | float):
            raise ValueError(
                f"A score is a number from 0 to 1, not {self.value!r}; an answer that cannot be judged is Score.unscored(why)."
            )
        if not (math.isnan(self.value) or -_ROUNDING <= self.value <= 1 + _ROUNDING):
            raise ScaleError(
                f"A score is a number from 0 to 1, where 1 is right, not {self.value!r}. Bring the metric's scale there: (score - 1) / 4 "
                "for one of 1 to 5, score / 100 for percent. Answers are kept: the same command scores them again."
            )

    @classmethod
    def unscored(cls, why: str) -> Score:
        """A score that says nothing about the answer, with the reason."""
        return cls(math.nan, why)

    @property
    def is_unscored(self) -> bool:
        return math.isnan(self.value)


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles and surplus white space (SQuAD's rule).

    It takes -5 for 5 and C++ for C; whether two answers are equal is `equal_answers`, and two questions `canonical`.
    """
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


ABSTENTIONS = (
    "unknown",
    "not known",
    "cannot be determined",
    "not enough information",
    "not stated",
    "not mentioned",
    "no answer",
    "unanswerable",
    "I don't know",
)
"""What a solver writes when it finds no answer."""


def abstains(answer: str, abstentions: Iterable[str] = ABSTENTIONS) -> bool:
    """Whether an answer is one of `abstentions` after `normalize_answer`."""
    return normalize_answer(answer) in map(normalize_answer, abstentions)


def exact_match(answer: Any, golds: Iterable[Any]) -> Score:
    """1.0 if `answer` equals one of `golds` by `equal_answers`, else 0.0; unscored without a usable gold."""
    wanted = usable_golds(golds)
    if not wanted:
        return Score.unscored(EMPTY_REFERENCE)
    readings = [answer, unwrapped(as_text(answer))]
    return Score(float(any(equal_answers(reading, gold) for reading in readings for gold in wanted)))


def usable_golds(golds: Iterable[Any]) -> list[str]:
    """The accepted answers that are not empty, as text."""
    return [text for gold in golds if (text := as_text(gold)).strip()]


class Origin(NamedTuple):
    """Whose questions a task asks, for those who are handed them on.

    Attributes:
        source: The data set on the Hugging Face hub (`openai/gsm8k`), or where they are from in words; empty where it is not known.
        license: What they may be used under, as the hub writes it (`mit`, `cc-by-sa-4.0`); empty where it is not known.
    """

    source: str = ""
    license: str = ""


class Task(ABC):
    """A source of questions with a scorer. A new task is one module with one subclass, and a line in `programs.tasks.registry`.

    Attributes:
        name: What users type; its name in the registry.
        summary: One line for `divide-or-conquer tasks`.
        measure: Name of what the value of a score measures, for reports.
        typical_characters: Usual length of a question with its context in characters, for plans; None where plans can
            load questions, as that costs nothing.
        path: The file or folder that the questions come from, where there is one.
        max_subquestions: The limit that `Decompose` is told.
        decomposer_sees_context: Whether the decomposer is given the passage, or the question alone; None gives a model what it
            was trained to see, and the passage to all others.
        answer_format: What a solver is told about the form of the answer beyond the package's own instructions; empty for most.
        scoring: The rule that `score` follows: `strict`, or `lenient` where a task also has the paper authors' rule; of
            `jsonl`, the scorer.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    measure: ClassVar[str] = "accuracy"
    typical_characters: ClassVar[int | None] = None
    path: Any = None
    answer_format: str = ""
    scoring: str = "strict"
    max_subquestions: int | None = 3
    decomposer_sees_context: bool | None = None

    @abstractmethod
    def load(self, split: str, limit: int | None = None) -> list[dspy.Example]:
        """The first `limit` examples of `split` (all, if None).

        Each has `id`, `context` (may be empty), `question` and `answer`; `subquestions` where there is a reference.

        Raises:
            ValueError: `split` is none of `SPLITS`, or has fewer than `limit` examples.
        """

    def score(self, example: dspy.Example, prediction: Any) -> Score:
        """Whether `prediction.answer` equals the reference; see `exact_match`."""
        return exact_match(getattr(prediction, "answer", None), [example.answer])

    def metric(self, example: dspy.Example, prediction: Any, trace: Any = None) -> float:
        """`score` in the form that DSPy's optimizers call; an unscored answer counts 0."""
        score = score_of(self, example, prediction)
        return 0.0 if score.is_unscored else score.value

    def origin_of(self, example_id: str) -> Origin:
        """Whose question has that id, as far as the task knows; of a user's own file nothing is known."""
        return Origin()

    def check_split(self, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r} of task {self.name!r}; expected one of {list(SPLITS)}.")


def overlapping(splits: Mapping[str, list[dspy.Example]]) -> list[tuple[str, str, str]]:
    """Examples that stand in two splits, as (first split, second split, question).

    Two examples are the same if their `chain` is (the entities that lead to the answer, where a task knows them), or
    else their context and question, each after `canonical`, which keeps signs and symbols: -5 is not 5.
    """
    seen: dict[Any, str] = {}
    found = []
    for split, examples in splits.items():
        for example in examples:
            key = identity(example)
            if seen.setdefault(key, split) != split:
                found.append((seen[key], split, example.question))
    return found


def identity(example: dspy.Example) -> tuple[str, ...]:
    """What makes two examples the same; see `overlapping`."""
    if example.get("chain"):
        return tuple(example.chain)
    return canonical(example.get("context") or ""), canonical(example.question)


def each_once(examples: Iterable[dspy.Example]) -> list[dspy.Example]:
    """Examples without those that ask what an earlier one asks; see `asked`.

    A copy is answered as its first is, so that counting both would make intervals too narrow.
    """
    found: dict[tuple[str, str], dspy.Example] = {}
    for example in examples:
        found.setdefault(asked(example), example)
    return list(found.values())


def asked(example: dspy.Example) -> tuple[str, str]:
    """Context and question of an example, with single spaces; of the question neither case nor the stop at its end counts."""
    return " ".join(str(example.get("context") or "").split()), " ".join(str(example.question).casefold().split()).rstrip(" ?.")


def score_of(task: Task, example: dspy.Example, prediction: Any) -> Score:
    """`task.score`, which may also give what DSPy's metrics do, see `as_score`.

    Raises:
        ValueError: It gave anything else.
    """
    return as_score(task.score(example, prediction), f"`score` of task {task.name!r}")


def as_score(given: Any, who: str = "the metric") -> Score:
    """What a metric of DSPy's gives, as a `Score`; None is no judgement.

    Args:
        given: A bool, a number from 0 to 1 (of numpy or torch too, alone in an array), a `Score`, or a `dspy.Prediction` or dict with
            a `score`, as GEPA's metrics give it, whose `feedback` becomes the detail.
        who: Gave it, for messages.

    Raises:
        ScaleError: A number outside of 0 to 1.
        ValueError: Anything else.
    """
    if isinstance(given, Score):
        return given
    if given is None:
        return Score.unscored(f"{who} {NO_JUDGEMENT}")
    if isinstance(given, dspy.Example | Mapping) and "score" in given:
        score = as_score(given["score"], who)
        return replace(score, detail=as_text(given.get("feedback"))) if given.get("feedback") else score
    if hasattr(given, "item") and math.prod(getattr(given, "shape", (0,))) == 1:
        given = given.item()
    if isinstance(given, bool | int | float):
        return Score.unscored(f"{who} returned nan") if math.isnan(given) else _scaled(given, who)
    raise ValueError(
        f"{who} returned {given!r}; expected a bool, a number from 0 to 1, a Score, or a dspy.Prediction with score= (and feedback=)"
    )


def _scaled(given: float, who: str) -> Score:
    try:
        return Score(float(given))
    except ScaleError as error:
        raise ScaleError(f"{who} returned {given!r}. {error}") from None


def scorer_of(metric: Any) -> Callable[[dspy.Example, Any], Score] | None:
    """The `score` of the task whose `metric` this is; None for other metrics.

    A metric says 0 both for wrong and for "cannot be judged"; a task's score tells them apart.
    """
    task = getattr(metric, "__self__", None)
    return functools.partial(score_of, task) if isinstance(task, Task) else None
