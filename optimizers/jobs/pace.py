"""How long something will go on, of a stage by its own latest speed, and of a whole job by what was expected of its stages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

_LEAST_SECONDS = 30.0

_SHARE = 1 / 3

_KEPT = 300
"""Points of a stage, of which every other one is forgotten when there are more."""

_TRUST = 0.25
"""Share of the seconds expected of a kind of stage, after which its speed is believed by half where nearly nothing is done: the first
answer of many threads comes late, and says little of those behind it."""

_FORGOTTEN = 8
"""With this power of what is not done yet: of a kind of which a quarter is done, the speed seen is all that counts."""

_TRAINING = "train"

_CARRIED = 3.0
"""Times that a training is slower at most than expected because of asking, or asking because of a training."""


class Pace:
    """The speed of one stage, over a stretch that grows with it: the last third of its time, and at least 30 seconds.

    A window of a fixed length knows nothing of steps that take longer than it, and of a stage of hours only its last moment.

    Args:
        now: Seconds of a clock.
        done: What is done already, in an earlier call: it tells nothing of the speed.
    """

    def __init__(self, now: float, done: int) -> None:
        self.started, self.ended, self.done = now, now, done
        self._points = [(now, done)]

    def note(self, now: float, done: int) -> None:
        """Note that so much is done."""
        if done < self.done:
            # Begun again, as for another teacher of the same questions.
            self._points, self.started = [(now, done)], now
        elif done > self.done:
            self._points.append((now, done))
        self.done, self.ended = done, now
        if len(self._points) > _KEPT:
            self._points = [self._points[0], *self._points[1::2]]

    def seconds_left(self, now: float, total: int) -> float | None:
        """Seconds until `total` is done; None while no speed is known."""
        if self.done >= total:
            return 0.0
        begin = now - max(_LEAST_SECONDS, _SHARE * (now - self.started))
        since, done = max((point for point in self._points if point[0] <= begin), default=self._points[0])
        if done == self.done:
            since, done = self._points[0]
        return (total - self.done) * (now - since) / (self.done - done) if self.done > done else None


class JobPace:
    """How far a whole job is, and how long it will go on.

    Every kind of stage (labelling, training, ...) is as much slower or faster than expected as what was done of it. Of kinds that have
    not begun, asking goes as the asking until now, as both wait for the same models; a training is done here, whatever a server far
    away takes, so that it follows at most threefold. Stages that were never begun count as done when a later one is: they were not needed.

    Args:
        seconds: What each stage was expected to take, in their order.
        now: Seconds of a clock.
    """

    def __init__(self, seconds: Mapping[str, float], now: float) -> None:
        self._expected = dict(seconds)
        self._places = {stage: place for place, stage in enumerate(self._expected)}
        self._first: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._spent: dict[str, float] = defaultdict(float)
        self._reached, self._current, self._last = -1, "", now

    def note(self, now: float, stage: str, share: float) -> None:
        """Note that a share of a stage is done; the time since the last note went into it, or into the latest stage that was expected."""
        place = self._places.get(stage)
        if place is not None:
            for skipped in [other for other in list(self._places)[:place] if other not in self._share]:
                self._first[skipped] = self._share[skipped] = 1.0
            self._first.setdefault(stage, share)
            self._share[stage] = share
            self._reached = max(self._reached, place)
        if self._reached >= 0:
            self._current = kind_of(stage if place is not None else list(self._expected)[self._reached])
            self._spent[self._current] += now - self._last
        self._last = now

    def finished(self) -> None:
        """Note that all is done."""
        self._share = dict.fromkeys(self._expected, 1.0)

    def share_and_left(self, now: float) -> tuple[float, float] | None:
        """The share of the job that is done, and the seconds left; None where nothing was expected."""
        kinds = dict.fromkeys(map(kind_of, self._expected))
        spent = {**self._spent, self._current: self._spent[self._current] + now - self._last}
        begun = [kind for kind in kinds if spent.get(kind)]
        factors = {kind: self._factor([kind], spent) or self._carried(kind, begun, spent) for kind in kinds}
        whole = sum(seconds * factors[kind_of(stage)] for stage, seconds in self._expected.items())
        left = sum(seconds * factors[kind_of(stage)] * (1 - self._share.get(stage, 0.0)) for stage, seconds in self._expected.items())
        return (1 - left / whole, left) if whole > 0 else None

    def _carried(self, kind: str, begun: list[str], spent: Mapping[str, float]) -> float:
        """The factor of a kind that has not begun."""
        alike = self._factor([other for other in begun if (other == _TRAINING) == (kind == _TRAINING)], spent)
        return alike or min(max(self._factor(begun, spent) or 1.0, 1 / _CARRIED), _CARRIED)

    def _factor(self, kinds: list[str], spent: Mapping[str, float]) -> float | None:
        """Seconds for each expected one; None where nothing is known of it."""
        own = {stage: seconds for stage, seconds in self._expected.items() if kind_of(stage) in kinds}
        fresh = sum(seconds * (self._share.get(stage, 0.0) - self._first.get(stage, 0.0)) for stage, seconds in own.items())
        seconds, expected = sum(spent.get(kind, 0.0) for kind in kinds), sum(own.values())
        if fresh <= 0:
            # Nothing is done, and it took longer than all that was left should have: as long again, at the least.
            ahead = expected - sum(own[stage] * share for stage, share in self._first.items() if stage in own)
            return seconds / ahead if seconds > ahead > 0 else None
        unseen = _TRUST * expected * (1 - fresh / expected) ** _FORGOTTEN
        return (seconds + unseen) / (fresh + unseen)


def kind_of(stage: str) -> str:
    """What is done in a stage: `train` of `train S_D-R` and of `round 1: train`."""
    return stage.rpartition(": ")[2].partition(" ")[0]
