"""What policies that ask have in common: their calls are collected like a teacher's samples, then verdicts are looked up.

Collecting gives all that labelling has: threads, the journal in `traces.jsonl`, replies in `samples.jsonl` that are never
paid for twice, the limits of the folder, and failed calls that are made again next time. Everything is asked under the
stage `screen`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import dspy
from dspy.utils.exceptions import AdapterParseError

from optimizers.labelling.collect import Progress, collect
from optimizers.labelling.journal import Limits, digest
from optimizers.labelling.samples import Collected, Sample, example_key
from optimizers.screening.votes import Scorer, answer_of, count_votes
from programs.lms.ledger import current_ledger, metered
from programs.modules import TwoStage
from programs.tasks.base import abstains
from programs.votes import Votes

STAGE = "screen"

NOT_ASKED, VOTES_UNREADABLE, ABSTAINS = "not_asked", "votes_unreadable", "abstains"
"""Reasons: a call failed, or a limit stopped them; none of the replies had an answer; the sample's own says that there is none."""


@dataclass(frozen=True)
class Asking:
    """With whose help, where and within which limits a policy asks.

    Attributes:
        teacher: The program that made the samples.
        folder: Of `traces.jsonl` and `samples.jsonl`; the teacher's own, so that calls and limits are shared.
        threads: Calls at a time.
        limits: When to stop asking, over all calls of the folder.
        score: How two answers are compared; see `votes.same_answer`. By default the `score` that `screen` was given.
        progress: As in `collect`.
    """

    teacher: dspy.Module
    folder: Path | str
    threads: int = 8
    limits: Limits | None = None
    score: Scorer | None = None
    progress: Progress | None = None


@runtime_checkable
class AskingPolicy(Protocol):
    """A `Policy` that has to ask before it can judge.

    Attributes:
        name: As of `Policy`.
        asked: What `prepare` collected, with its cost and why it stopped; None before.
    """

    name: str
    asked: Collected | None

    def program(self, teacher: dspy.Module) -> dspy.Module:
        """What is asked; raises ValueError where the policy cannot screen this teacher's samples."""
        ...

    def prepare(self, candidates: Iterable[tuple[dspy.Example, Sample]], asking: Asking) -> None:
        """Make all calls for these samples, or find them on file."""
        ...

    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Any]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""
        ...


class Asked(dspy.Module):
    """One module asked in its own prompt format under the stage `screen`; what cannot be read is marked, not raised.

    Args:
        module: What is asked.
        adapter: Its prompt format.
    """

    def __init__(self, module: dspy.Module, adapter: dspy.Adapter) -> None:
        super().__init__()
        self.module = module
        self._adapters = {STAGE: adapter}

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The module's prediction, or one with `unreadable` alone."""
        with dspy.context(adapter=self._adapters[STAGE]), metered(STAGE):
            try:
                return self.module(**inputs)
            except AdapterParseError:
                # Unlike in labelling this is a vote lost, which the policy accounts for, and no failure of the teacher.
                return dspy.Prediction(unreadable=True)


class AskedPolicy(ABC):
    """Base of the policies here: says what is asked about a sample, and judges by the replies.

    Attributes:
        samples: Replies to a question.
        temperature: Of the LM; None leaves it its own.
        abstentions: Answers that say that there is none; samples that end so are dropped without asking.
    """

    name: str = ""
    samples: int = 1
    temperature: float | None = None
    abstentions: Sequence[str] = ()

    asked: Collected | None = None
    score: Scorer | None = None

    @abstractmethod
    def program(self, teacher: dspy.Module) -> dspy.Module:
        """See `AskingPolicy.program`."""

    @abstractmethod
    def inputs(self, example: dspy.Example, sample: Sample) -> dict[str, Any]:
        """What the program is given; samples with the same inputs share their replies."""

    @abstractmethod
    def judge(self, example: dspy.Example, sample: Sample, score: Callable[[], Any]) -> tuple[str | None, float | None]:
        """See `Policy.judge`."""

    @property
    def least(self) -> int:
        """Replies that may settle what a sample is worth: so many are asked for first, and the others where they do not."""
        return self.samples

    def prepare(self, candidates: Iterable[tuple[dspy.Example, Sample]], asking: Asking) -> None:
        """See `AskingPolicy.prepare`; the candidates are gone over twice where `least` is below `samples`."""
        self.score = asking.score
        questions = {}
        for example, sample in candidates:
            if self.is_decided(example, sample):
                continue
            inputs = self.inputs(example, sample)
            questions[self._key(example, inputs)] = dspy.Example(id=self._key(example, inputs), **inputs).with_inputs(*inputs)
        self.asked = self._collected(asking, questions, self.least)
        if self.least < self.samples and not self.asked.stopped:
            settled = self._settled(candidates)
            if questions.keys() - settled:
                self.asked = self._collected(asking, questions, self.samples, dict.fromkeys(settled, self.least))

    def _collected(
        self, asking: Asking, questions: Mapping[str, dspy.Example], samples: int, runs: Mapping[str, int] | None = None
    ) -> Collected:
        return collect(
            self.program(asking.teacher),
            list(questions.values()),
            folder=asking.folder,
            samples=samples,
            temperature=self.temperature,
            threads=asking.threads,
            limits=asking.limits,
            progress=asking.progress,
            runs=runs,
        )

    def _settled(self, candidates: Iterable[tuple[dspy.Example, Sample]]) -> set[str]:
        """The questions whose further replies could change nothing for any of their samples."""
        settled, still_open = set[str](), set[str]()
        for example, sample in candidates:
            if not self.is_decided(example, sample):
                reason, _ = self.judge(example, sample, _no_score)
                (still_open if reason == NOT_ASKED else settled).add(self._key(example, self.inputs(example, sample)))
        return settled - still_open

    def is_decided(self, example: dspy.Example, sample: Sample) -> bool:
        """Whether a sample is dropped without asking."""
        return self.abstains(sample)

    def abstains(self, sample: Sample) -> bool:
        """Whether the sample's own answer is that there is none."""
        return abstains(answer_of(sample.prediction), self.abstentions)

    def _key(self, example: dspy.Example, inputs: dict[str, Any]) -> str:
        return f"{example_key(example)}/{self.name}/{digest(inputs)[:12]}"

    def replies(self, example: dspy.Example, sample: Sample) -> list[Sample]:
        """What came back on a sample; fewer than `samples` where these settled it or a limit stopped the calls, some with `error`."""
        if self.asked is None:
            raise RuntimeError(f"The policy {self.name!r} judges by replies: call `prepare` first, as `screen` does.")
        return self.asked[self._key(example, self.inputs(example, sample))]

    def votes(self, example: dspy.Example, sample: Sample) -> Votes[str]:
        """The replies as votes for answers."""
        return count_votes(self.replies(example, sample), self.samples, self.score, example)


def _no_score() -> Any:
    raise NotImplementedError("A policy whose replies may settle a sample early (`least`) judges by these alone.")


def question_inputs(example: dspy.Example) -> dict[str, Any]:
    """The question with its passage."""
    return {"context": example.get("context") or "", "question": example.question}


def two_stage_teacher(policy: str, teacher: dspy.Module) -> TwoStage:
    """The teacher, if it is one that decomposes.

    Raises:
        ValueError: It is not; names what to use.
    """
    if isinstance(teacher, TwoStage):
        return teacher
    raise ValueError(
        f"policy={policy!r} looks at a decomposition, so the teacher must be a TwoStage, not {type(teacher).__name__}; "
        "use 'none', 'oracle' or 'agreement', or a Policy object of your own."
    )


def asked_solver(policy: str, teacher: dspy.Module) -> Asked:
    """The solve stage of a teacher that decomposes, to be asked once more.

    Raises:
        ValueError: The teacher is no such one; names what to use.
    """
    two_stage = two_stage_teacher(policy, teacher)
    return Asked(two_stage.solve, two_stage.adapter_of("solve"))


def check_asking(policy: Any, teacher: dspy.Module, limits: Limits | None) -> None:
    """Refuse what cannot be screened before the teacher is paid; nothing to do for policies that do not ask.

    Raises:
        ValueError: Another kind of teacher than the policy needs, or a limit in dollars on an LM without a price.
    """
    if not isinstance(policy, AskingPolicy):
        return
    for _, predictor in policy.program(teacher).named_sub_modules(dspy.Predict):
        used = predictor.lm or dspy.settings.lm
        if limits and limits.usd is not None and used:
            current_ledger().prices.check(f"A limit of {limits.usd:g} dollars", used.model, f"what policy={policy.name!r} asks: ")
