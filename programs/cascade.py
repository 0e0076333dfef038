"""`Cascade`: a cheap program answers where its votes agree, and a dear one where they do not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import dspy
from dspy.utils.exceptions import DSPyError

from programs.coroutines import run_to_end
from programs.decomposition import CUT_OFF
from programs.lms.api_models import said_by
from programs.lms.ledger import LOCAL_PREFIXES, Ledger, Usage, current_ledger, metered, recording, summed
from programs.parts import FIRST, SECOND, stage_in
from programs.program_copy import all_predictors, copy_program, own_lms
from programs.tasks import equal_answers
from programs.tasks.base import abstains
from programs.votes import Votes

DISAGREE, UNREADABLE, NO_ANSWER = "votes disagree", "decomposition unreadable", "no answer"
"""Why a question goes on to the second program."""

Agree = Callable[[dspy.Prediction, dspy.Prediction], bool]

_OPTIONS = ("samples", "threshold", "temperature", "seed", "answer_field")
"""What a state holds beside the two programs."""

# 2 of 3 is 0.67, which floating point may put a hair below.
_ROUNDING = 1e-9

_STRIDE = 1000
"""Seeds of two cascades lie so far apart, that their votes are others."""

_DRAWS = 2**28
"""How many draws there are of cascades within others; a seed that is added up through seven of them still has 32 bits."""

_WITHIN = "divide_or_conquer_votes"
"""In DSPy's settings, which reach the threads of `dspy.Parallel` too: the votes of which the program that runs is a part."""

_OWN = "program"
"""Stage of calls that a program does not meter by stages of its own."""

_MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)
"""Wrong code or inputs, whatever an LM replied."""

_OUTSIDE = (DSPyError, OSError, asyncio.TimeoutError)
"""Failures of LMs, adapters, networks and servers, which are no mistakes even if no LM was asked."""

_SAMPLED = ("temperature", "rollout_id", "seed")

_log = logging.getLogger("divide_or_conquer")


@dataclass
class _Vote:
    """One answer of the first program; `fault` is why it is none, `error` what was raised."""

    prediction: dspy.Prediction | None = None
    fault: str | None = None
    error: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)


class Cascade(dspy.Module):
    """Answers by a cheap program, and by a dear one where the answers of the cheap one do not agree.

    The agreement of samples as the sign that a cheap answer can be trusted is that of Yue et al. (2024, arXiv 2310.03094).
    The first vote is the program as it is; the others are drawn at `temperature`, each by a seed of its own, so that the same
    question has the same votes every time. The answer with most votes stands, of several the earliest. A vote without an answer
    speaks for nothing. Where the first vote is none, no other is asked for.

    Args:
        first: The cheap program.
        second: The dear one; takes the same inputs. It may be the same kind of program with another LM.
        samples: Votes of the cheap program on each question; with 1 it is only passed over where it gives no answer.
        threshold: Share of all votes that the answer needs, from 0 to 1. 1 wants all votes to agree; 0 only wants an answer.
        agree: Whether two predictions say the same; by default whether their answers are equal by `programs.tasks.equal_answers`.
        temperature: Of the votes behind the first, above 0. None asks each LM at its own, for models that take no other.
        seed: Another one draws other votes.
        answer_field: The output that holds the answer.

    Raises:
        TypeError: One of the two is no `dspy.Module`; `agree` cannot be called.
        ValueError: A value out of range, or of another type.
    """

    def __init__(
        self,
        first: dspy.Module,
        second: dspy.Module,
        *,
        samples: int = 3,
        threshold: float = 1.0,
        agree: Agree | None = None,
        temperature: float | None = 0.7,
        seed: int = 0,
        answer_field: str = "answer",
    ) -> None:
        super().__init__()
        for name, program in ((FIRST, first), (SECOND, second)):
            if not isinstance(program, dspy.Module):
                raise TypeError(
                    f"`{name}` of a cascade must be a dspy.Module, got {program!r:.100}; of a signature make dspy.Predict(...)."
                )
        if agree is not None and not callable(agree):
            raise TypeError(f"agree={agree!r:.100} must be a function of two predictions that says whether they agree, or None.")
        check_options({"samples": samples, "threshold": threshold, "temperature": temperature, "seed": seed, "answer_field": answer_field})
        self.first, self.second = first, second
        self.samples, self.threshold, self.temperature = samples, threshold, temperature
        self.seed, self.answer_field = seed, answer_field
        self._agree = agree

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Answer by the first program, or else by the second.

        Returns:
            The prediction of the program that answered, with `route` (`first` or `second`), `agreement` (the share of all votes that
            the cheap answer has), `escalated` (None, or why it went on: `votes disagree`, `decomposition unreadable`, `no answer`),
            `votes` (the cheap answers as text, None where there is none), `first_answer` (the one with most votes), `errors` (what
            failed votes raised), and `usage` (stage -> `Usage` as dict) of both programs, their stages behind `first_` and `second_`.

        Raises:
            ValueError: The first program's prediction has no field `answer_field`; an LM at temperature 0 where `temperature` is None.
            Exception: Whatever the second program raises, and what the first one raises by a mistake in its code or its use: TypeError,
                AttributeError, NameError, ImportError, NotImplementedError; any error before an LM was asked that is none of DSPy, of
                the network or of a server (`DSPyError`, `OSError`). Its other failures are votes without an answer.
        """
        self._check_temperatures()
        votes = [self._vote(self.first, None, inputs)]
        if votes[0].fault is None:
            votes += [self._vote(*copy, inputs, vote) for vote, copy in enumerate(self._copies(), 1)]
        found = self._counted(votes)
        if found["escalated"] is None:
            return self._told(self._leader(votes), found, votes, {})
        with _billed(SECOND) as usage, _part_of(SECOND):
            prediction = _called(self.second, inputs)
        return self._told(prediction, found, votes, usage)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """`forward` without blocking the event loop; the votes behind the first are asked for side by side."""
        self._check_temperatures()
        votes = [await self._avote(self.first, None, inputs)]
        if votes[0].fault is None:
            votes += await asyncio.gather(*(self._avote(*copy, inputs, vote) for vote, copy in enumerate(self._copies(), 1)))
        found = self._counted(votes)
        if found["escalated"] is None:
            return self._told(self._leader(votes), found, votes, {})
        with _billed(SECOND) as usage, _part_of(SECOND):
            prediction = await _acalled(self.second, inputs)
        return self._told(prediction, found, votes, usage)

    def escalates(self, agreement: float) -> bool:
        """Whether votes that agree so far are too few."""
        return agreement < self.threshold - _ROUNDING

    # Votes
    def _copies(self) -> Iterator[tuple[dspy.Module, dspy.LM | None]]:
        """The first program for each further vote, and the LM in place of DSPy's configured one."""
        for vote in range(1, self.samples):
            program = copy_program(self.first, {id(lm): self._drawing(lm, vote) for lm in own_lms(self.first)})
            for _, predictor in all_predictors(program):
                # Of its own it would win over the LM's, and all votes be one text.
                predictor.config = {name: value for name, value in predictor.config.items() if name not in _SAMPLED}
            yield program, self._drawing(dspy.settings.lm, vote) if dspy.settings.lm else None

    def _check_temperatures(self) -> None:
        """Refuse votes that would be one text, before the first is paid."""
        if self.samples == 1 or self.temperature is not None:
            return
        for lm in [*own_lms(self.first), *([dspy.settings.lm] if dspy.settings.lm else [])]:
            if lm.kwargs.get("temperature") == 0:
                raise ValueError(
                    f"The votes of {lm.model} at its temperature 0 would be one text {self.samples} times; give temperature=0.7."
                )

    def _drawing(self, lm: dspy.LM, vote: int) -> dspy.LM:
        """`lm` for one vote: at the temperature, past DSPy's cache of other votes, and by another seed where its model has any."""
        own, temperature = lm.kwargs.get("seed"), self.temperature or lm.kwargs.get("temperature")
        number = self._number(vote)
        # A model in this process draws by its seed alone, and counts how often it was asked where it is given none.
        seeded = own is not None or lm.model.startswith(LOCAL_PREFIXES)
        return lm.copy(temperature=temperature, rollout_id=number, **({"seed": (own or 0) + number} if seeded else {}))

    def _number(self, vote: int) -> int:
        """Of a draw: another one in each vote of the cascades around this one, whose votes would else be these replies again."""
        number, within = _STRIDE * self.seed + vote, dspy.settings.get(_WITHIN) or ()
        if not within:
            return number
        told = hashlib.sha256(repr((*within, number)).encode()).hexdigest()
        return int(told, 16) % _DRAWS

    def _vote(self, program: dspy.Module, lm: dspy.LM | None, inputs: dict[str, Any], vote: int = 0) -> _Vote:
        with _billed(FIRST) as usage, _drawn_by(lm, self._number(vote), program is not self.first):
            try:
                found = _called(program, inputs)
            except Exception as error:
                caught = error
            else:
                return self._read(found, usage)
        return _failed(caught, usage)

    async def _avote(self, program: dspy.Module, lm: dspy.LM | None, inputs: dict[str, Any], vote: int = 0) -> _Vote:
        with _billed(FIRST) as usage, _drawn_by(lm, self._number(vote), program is not self.first):
            try:
                found = await _acalled(program, inputs)
            except Exception as error:
                caught = error
            else:
                return self._read(found, usage)
        return _failed(caught, usage)

    def _read(self, prediction: Any, usage: dict[str, Any]) -> _Vote:
        if not isinstance(prediction, dspy.Example):
            raise TypeError(f"The first program of a cascade gave {prediction!r:.100}; it must give a dspy.Prediction.")
        if self._agree is None and self.answer_field not in prediction:
            raise ValueError(
                f"The first program of a cascade gave no {self.answer_field!r}, only {list(prediction.keys())}; name the output "
                "to compare by answer_field=..., or give agree=..., which compares two predictions."
            )
        return _Vote(prediction, self._fault(prediction), usage=usage)

    def _fault(self, prediction: dspy.Prediction) -> str | None:
        """Why a prediction is no vote."""
        state = prediction.get("state")
        if state == "unparseable" or (state == CUT_OFF and not prediction.get("subquestions")):
            return UNREADABLE
        if prediction.get("unparsed"):
            return NO_ANSWER
        if self.answer_field not in prediction:
            return None
        answer = self._text(prediction)
        return NO_ANSWER if not answer or abstains(answer) else None

    def _text(self, prediction: dspy.Prediction) -> str:
        answer = prediction.get(self.answer_field)
        return "" if answer is None else str(answer).strip()

    def _same(self, one: dspy.Prediction, other: dspy.Prediction) -> bool:
        if one is other:
            return True
        if self._agree is not None:
            return bool(self._agree(one, other))
        return equal_answers(one.get(self.answer_field), other.get(self.answer_field))

    def _poll(self, votes: Sequence[_Vote]) -> Votes[dspy.Prediction]:
        readable = [vote.prediction for vote in votes if vote.prediction is not None and vote.fault is None]
        return Votes(readable, self.samples - len(votes), self._same)

    def _leader(self, votes: Sequence[_Vote]) -> dspy.Prediction:
        return self._poll(votes).ranking()[0][0]

    def _counted(self, votes: Sequence[_Vote]) -> dict[str, Any]:
        """What the votes came to: `agreement`, `first_answer`, and `escalated`."""
        if votes[0].fault is not None:
            return {"agreement": 0.0, "first_answer": None, "escalated": votes[0].fault}
        leader, count = self._poll(votes).ranking()[0]
        agreement = count / self.samples
        return {
            "agreement": agreement,
            "first_answer": self._text(leader) or None,
            "escalated": DISAGREE if self.escalates(agreement) else None,
        }

    def _told(self, prediction: Any, found: dict[str, Any], votes: Sequence[_Vote], second: dict[str, Any]) -> dspy.Prediction:
        told = {
            **found,
            "route": FIRST if found["escalated"] is None else SECOND,
            "votes": [self._text(vote.prediction) if vote.prediction is not None and vote.fault is None else None for vote in votes],
            "errors": [vote.error for vote in votes if vote.error],
            "usage": {**_summed([vote.usage for vote in votes]), **_summed([second])},
        }
        return dspy.Prediction(**{**dict(prediction.items()), **told})

    # On file
    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        parts = {name: getattr(self, name).dump_state(json_mode=json_mode) for name in (FIRST, SECOND)}
        told = {name: getattr(self, name) for name in _OPTIONS}
        return {**parts, "cascade": {**told, "agree": _name_of(self._agree) if self._agree else None}}

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        """Take over both programs and the options; `agree` is code, which no state holds, and stays as it was given here.

        Raises:
            ValueError: The state of another program, values out of range, or the state of a cascade that compares by an `agree` where this
                one has none.
        """
        if missing := [name for name in (FIRST, SECOND) if name not in state]:
            raise ValueError(f"This is the state of no cascade, but of a program with {list(state)}; a cascade has {missing} too.")
        options = dict(state.get("cascade") or {})
        agree = options.pop("agree", None)
        if agree and self._agree is None:
            raise ValueError(
                f"The cascade was saved with agree={agree}, which no file holds; make this one with Cascade(..., agree=...) too."
            )
        options = {name: value for name, value in options.items() if name in _OPTIONS}
        check_options(options)
        for name in (FIRST, SECOND):
            getattr(self, name).load_state(state[name], allow_unsafe_lm_state=allow_unsafe_lm_state)
        for name, value in options.items():
            setattr(self, name, value)


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of votes that cannot be counted, or could not differ.

    Args:
        options: Some of `_OPTIONS` by name.

    Raises:
        ValueError: Names the value.
    """
    for name, value in options.items():
        wants, why, is_right = _WANTED[name]
        if not is_right(value):
            raise ValueError(f"{name}={value!r:.100} must be {wants}: {why}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


_WANTED: dict[str, tuple[str, str, Callable[[Any], bool]]] = {
    "samples": (
        f"a whole number from 1 to {_STRIDE - 1}",
        "the votes of the first program",
        lambda value: _is_whole(value) and 1 <= value < _STRIDE,
    ),
    "threshold": (
        "from 0 to 1",
        "the share of the votes that has to agree (60 % is 0.6)",
        lambda value: _is_number(value) and 0 <= value <= 1,
    ),
    "temperature": (
        "a number above 0, or None",
        "at 0 all votes would be one text; 0.7 is usual",
        lambda value: value is None or (_is_number(value) and value > 0),
    ),
    "seed": ("a whole number", "another one draws other votes; 0 is usual", _is_whole),
    "answer_field": (
        "the name of one output",
        "the one that is compared, as 'answer'",
        lambda value: isinstance(value, str) and bool(value),
    ),
}
"""Option -> what it must be, what it is for, and whether a value will do."""


@contextlib.contextmanager
def _billed(part: str) -> Iterator[dict[str, Any]]:
    """Count the enclosed calls under stages of this part, failed ones too; what is yielded holds their sums when it is left."""
    outer, usage = current_ledger(), dict[str, Any]()
    ledger = Ledger(outer.prices)
    try:
        with recording(ledger, adopts=False), metered(_OWN):
            yield usage
    finally:
        for (stage, model), used in ledger.entries().items():
            outer.add(stage_in(part, stage), model, used)
        usage |= {stage_in(part, stage): used.to_dict() for stage, used in ledger.by_stage().items()}


@contextlib.contextmanager
def _drawn_by(lm: dspy.LM | None, number: int, is_copy: bool) -> Iterator[None]:
    """Keep the calls of a copy out of DSPy's trace, whose predictors belong to the program itself."""
    with _part_of(number), dspy.context(**({"trace": []} if is_copy else {}), **({"lm": lm} if lm else {})):
        yield


@contextlib.contextmanager
def _part_of(vote: int | str) -> Iterator[None]:
    """Let cascades in the enclosed program draw votes of their own."""
    with dspy.context(**{_WITHIN: (*(dspy.settings.get(_WITHIN) or ()), vote)}):
        yield


def _failed(error: Exception, usage: dict[str, Any]) -> _Vote:
    """The vote that failed.

    Raises:
        Exception: `error` itself, where it is a mistake in the program or its use: all questions would go to the dear program.
    """
    if isinstance(error, _MISTAKES) or not (usage or isinstance(error, _OUTSIDE)):
        raise error
    said = f"{type(error).__name__}: {said_by(error)}"[:500]
    _log.warning("The first program of a cascade failed, and the vote counts for nothing: %s", said)
    return _Vote(fault=NO_ANSWER, error=said, usage=usage)


def _summed(bills: Sequence[dict[str, Any]]) -> dict[str, Any]:
    totals = summed({stage: Usage.from_dict(used) for stage, used in bill.items()} for bill in bills)
    return {stage: used.to_dict() for stage, used in totals.items()}


def _called(program: dspy.Module, inputs: dict[str, Any]) -> Any:
    return program(**inputs) if hasattr(type(program), "forward") else run_to_end(program.acall(**inputs))


async def _acalled(program: dspy.Module, inputs: dict[str, Any]) -> Any:
    if hasattr(type(program), "aforward"):
        return await program.acall(**inputs)
    return await dspy.asyncify(program)(**inputs)
