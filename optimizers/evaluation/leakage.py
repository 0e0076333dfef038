"""Test questions that also stand in the training set, as they are or nearly so.

A decomposer trained on a test question has seen what it is tested on; the paper does not report a check. Overlap of
word n-grams is the usual measure.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import dspy

from programs.tasks.base import canonical, identity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SENTENCE_END = re.compile(r"[.!?:]\W*$")

_NAMES_SHARE = 0.5

_BUCKETS = 2**20
"""In which n-grams are counted: those that share one pass for more frequent than they are, which costs time alone."""


class Leak(NamedTuple):
    """A test example that also stands in the training set.

    Attributes:
        test_id: Its id.
        train_id: The id of the training example that it is most like; the first of equals.
        kind: `exact` or `near`.
        share: Of the test question's n-grams, those in the training question; 1.0 where `exact`.
        test_question: As written.
        train_question: As written.
    """

    test_id: str
    train_id: str
    kind: str
    share: float
    test_question: str
    train_question: str


def find_leaks(train: Iterable[dspy.Example], test: Sequence[dspy.Example], *, n: int = 8, share: float = 0.5) -> list[Leak]:
    """Test examples that also stand in `train`, at most one leak each, in the order of `test`.

    Exact: the same example by `programs.tasks.base.identity`, as for `overlapping`; where one of the two has no `chain`, the
        same context and question.

    Near: one training question holds at least `share` of the distinct word n-grams of the test question, after
        `programs.tasks.base.canonical`. 8-grams are PaLM's (Chowdhery et al. 2022, section 8, at 70 %); GPT-3 took 13-grams (Brown
        et al. 2020, appendix C). Those search whole corpora; here questions are compared one by one, so that a lower
        share will do, and questions that share only a template are left alone:

    - Of two examples that both have a `chain`, the chain alone says whether they are the same.
    - A question of fewer than `n` words must be repeated whole.
    - Where both have a context, the contexts must overlap by the same rule: "How many touchdowns were scored?" is
      another question for every game.
    - Where the test question has names (capitals within a sentence), half of its names and numbers must stand in the
      training question too. A question with one changed number is near.

    One changed word breaks up to `n` n-grams: below about 3n words it can hide a near copy, which a smaller `n` finds.
    Paraphrases, translations and languages written without spaces are not found, but for exact copies.

    Args:
        train: Examples with `id`, `question`, and optionally `context` and `chain`.
        test: Examples with the same fields. The index is over these, so that memory grows with the test set alone.
        n: Words of an n-gram, at least 1.
        share: Share of n-grams from which on a question is near, in (0, 1].

    Raises:
        ValueError: `n` or `share` is out of range.
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1 word, got {n}; 8 and 13 are common.")
    if not 0 < share <= 1:
        raise ValueError(f"`share` must be in (0, 1], got {share}; 0.5 asks for half of a question's n-grams.")
    train = list(train)
    found = _exact(train, test)
    search = _NearSearch({at: example for at, example in enumerate(test) if at not in found}, n, share)
    for example in train:
        search.compare(example)
    return [leak for _, leak in sorted((found | search.found).items())]


def keep_out(test: Iterable[dspy.Example], leaks: Iterable[Leak]) -> list[dspy.Example]:
    """The examples of `test` that are in none of `leaks`, by their ids."""
    leaked = {leak.test_id for leak in leaks}
    return [example for example in test if example.id not in leaked]


class Repeats:
    """Tells for one example after the other whether it repeats one of some test questions, by the rules of `find_leaks`.

    Args:
        test: Examples with `id`, `question`, and optionally `context` and `chain`.
        n: As in `find_leaks`.
        share: As in `find_leaks`.
    """

    def __init__(self, test: Sequence[dspy.Example], n: int = 8, share: float = 0.5) -> None:
        self._test = test
        self._exact = _ExactSearch(test)
        self._near = _NearSearch(dict(enumerate(test)), n, share)

    def leak(self, example: dspy.Example) -> Leak | None:
        """The test question that `example` repeats, the first of several; None if it repeats none."""
        for at in self._exact.repeated_by(example):
            return _leak(self._test[at], example, "exact", 1.0)
        self._near.found = {}
        self._near.compare(example)
        return next(iter(self._near.found.values()), None)


def _exact(train: Iterable[dspy.Example], test: Sequence[dspy.Example]) -> dict[int, Leak]:
    """Exact leaks by position in `test`."""
    search = _ExactSearch(test)
    found: dict[int, Leak] = {}
    for example in train:
        for at in search.repeated_by(example):
            found.setdefault(at, _leak(test[at], example, "exact", 1.0))
    return found


class _ExactSearch:
    """Positions of test examples by their chain, and by their text."""

    def __init__(self, test: Sequence[dspy.Example]) -> None:
        self._test = test
        self._chains: dict[tuple[str, ...], list[int]] = {}
        self._texts: dict[tuple[str, ...], list[int]] = {}
        for at, example in enumerate(test):
            if example.get("chain"):
                self._chains.setdefault(identity(example), []).append(at)
            self._texts.setdefault(_text(example), []).append(at)

    def repeated_by(self, train: dspy.Example) -> list[int]:
        """The test examples that are the same as `train`."""
        by_text = self._texts.get(_text(train), [])
        if not train.get("chain"):
            return by_text
        return [*self._chains.get(identity(train), []), *(at for at in by_text if not self._test[at].get("chain"))]


def _text(example: dspy.Example) -> tuple[str, ...]:
    """What makes two examples the same where their chains are not known."""
    return identity(dspy.Example(question=example.question, context=example.get("context")))


def _leak(test: dspy.Example, train: dspy.Example, kind: str, share: float) -> Leak:
    return Leak(test.id, train.id, kind, share, test.question, train.question)


class _NearSearch:
    """Near leaks of some test examples, by position, as training examples come by."""

    def __init__(self, test: dict[int, dspy.Example], n: int, share: float) -> None:
        self.found: dict[int, Leak] = {}
        self._test = test
        self._positions: dict[str, dict[str, list[int]]] = {}
        for at, example in test.items():
            by_context = self._positions.setdefault(canonical(example.question), {})
            by_context.setdefault(_context(example), []).append(at)
        self._questions = _Overlap(self._positions, n, share)
        self._contexts = _Overlap({context for by_context in self._positions.values() for context in by_context}, n, share)
        self._seen_contexts: dict[str, set[str] | None] = {}

    def compare(self, train: dspy.Example) -> None:
        """Note the test examples that `train` nearly repeats."""
        contexts = self._like_context(train)
        for question, share in self._questions.repeated_in(canonical(train.question)).items():
            by_context = self._positions[question]
            for context in by_context if contexts is None else by_context.keys() & contexts:
                for at in by_context[context]:
                    self._offer(at, train, share)

    def _like_context(self, train: dspy.Example) -> set[str] | None:
        """Test contexts that go with that of `train`; None for all of them."""
        raw = train.get("context") or ""
        if raw not in self._seen_contexts:
            context = _context(train)
            self._seen_contexts[raw] = {"", *self._contexts.repeated_in(context)} if context else None
        return self._seen_contexts[raw]

    def _offer(self, at: int, train: dspy.Example, share: float) -> None:
        test = self._test[at]
        if at in self.found and self.found[at].share >= share:
            return
        if not (test.get("chain") and train.get("chain")) and _same_names(test.question, train.question):
            self.found[at] = _leak(test, train, "near", share)


def _context(example: dspy.Example) -> str:
    return canonical(example.get("context") or "")


class _Overlap:
    """An inverted index over normalised texts: which of them does another text repeat?

    A text that is repeated by `share` shares one of any `1 - share` of its n-grams, and a few more (prefix filtering; Chaudhuri et al.
    2006, A primitive operator for similarity joins). Looked up by its rarest ones, it is not compared with all those that begin alike.
    """

    def __init__(self, texts: Collection[str], n: int, share: float) -> None:
        import numpy as np

        self._n, self._share, self._texts = n, share, list(texts)
        self._grams, self._ends = array("q"), array("q", [0])
        common = np.zeros(_BUCKETS, np.int32)
        for text in self._texts:
            self._grams.extend(self._hashes(text))
            self._ends.append(len(self._grams))
            np.add.at(common, self._of(len(self._ends) - 2) % _BUCKETS, 1)
        grams, places = array("q"), array("q")
        for place in range(len(self._texts)):
            own = self._of(place)
            rare = own[np.argsort(common[own % _BUCKETS], kind="stable")[: len(own) - self._needed(len(own)) + 1]]
            grams.extend(rare.tolist())
            places.extend([place] * len(rare))
        order = np.argsort(np.asarray(grams), kind="stable")
        self._rare, self._places = np.asarray(grams)[order], np.asarray(places)[order]

    def _of(self, place: int) -> NDArray[np.int64]:
        import numpy as np

        return np.frombuffer(self._grams[self._ends[place] : self._ends[place + 1]].tobytes(), np.int64)

    def _needed(self, size: int) -> int:
        """How many of so many n-grams are at least the share."""
        return next((count for count in range(int(self._share * size), size) if count and count / size >= self._share), size)

    def repeated_in(self, text: str) -> dict[str, float]:
        """Indexed texts of whose n-grams at least the share stands in `text`, with that share; in the order of the index."""
        import numpy as np

        grams = self._hashes(text)
        if not grams or not len(self._rare):
            return {}
        asked = np.fromiter(grams, np.int64, len(grams))
        ranges = zip(np.searchsorted(self._rare, asked).tolist(), np.searchsorted(self._rare, asked, "right").tolist(), strict=True)
        places = sorted({place for low, high in ranges if low < high for place in self._places[low:high].tolist()})
        shares = {place: self._share_in(place, grams) for place in places}
        return {self._texts[place]: share for place, share in shares.items() if share >= self._share}

    def _share_in(self, place: int, grams: set[int]) -> float:
        own = self._grams[self._ends[place] : self._ends[place + 1]]
        return len(grams.intersection(own)) / len(own)

    def _hashes(self, text: str) -> set[int]:
        """Distinct n-grams, as 64 bits each; a shorter text is one by itself, and an empty one has none."""
        words = text.split()
        if not words:
            return set()
        return {hash(tuple(words[at : at + self._n])) for at in range(max(1, len(words) - self._n + 1))}


def _same_names(test: str, train: str) -> bool:
    names, numbers = _names(test), {word for word in canonical(test).split() if _is_number(word)}
    wanted = names | numbers
    return not names or len(wanted & set(canonical(train).split())) >= _NAMES_SHARE * len(wanted)


def _names(question: str) -> set[str]:
    """Words with a capital that does not come from the start of a sentence."""
    words = question.split()
    inner = [word for before, word in pairwise(words) if not _SENTENCE_END.search(before)]
    return {part for word in inner if word.lstrip("\"'(“‘$")[:1].isupper() for part in canonical(word).split()}


def _is_number(word: str) -> bool:
    return any(character.isdigit() for character in word)
