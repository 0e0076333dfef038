"""The pages: what each shows, by what its address asks for. Every name in an address is looked up among those that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from optimizers.reports.blocks import count_text, p_text, points_difference, points_interval, verdict
from optimizers.reports.questions import text_of
from optimizers.reports.verdicts import difference_words
from optimizers.viewer.answer_file import Line
from optimizers.viewer.answer_sets import AnswerSet, Files, sets_of
from optimizers.viewer.cards import cards_of
from optimizers.viewer.compare import Pair, pair, said, same_named, scored, settings_that_differ
from optimizers.viewer.history import log_tail
from optimizers.viewer.places import Found, find, inside
from optimizers.viewer.search import VERDICTS, Hit, Searches, Wanted, hits, page_of
from optimizers.viewer.summaries import Summary, command_of, summary

JOBS_A_PAGE = 100
SETS_A_PAGE = 40
LOG_LINES = 60

Params = Mapping[str, str]


class NotFoundError(LookupError):
    """Nothing of that name is in the folder; the message says so for a reader."""


class Shown(NamedTuple):
    """A page: the name of its template, and what the template is given."""

    template: str
    values: dict[str, Any]


class Pages:
    """All pages of a folder of runs; what was read of large files is kept, everything else is read anew each time.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files, self._searches = Files(), Searches()

    def jobs(self, params: Params) -> Shown:
        """The list of jobs, latest first, and the folders that hold none."""
        found = find(self.root)
        jobs = sorted((summary(place) for place in found.places.values()), key=lambda job: (job.changed, job.place.name), reverse=True)
        words, kind = params.get("words", "").strip(), params.get("kind", "")
        kinds = sorted({job.kind for job in jobs})
        wanted = [job for job in jobs if kind in ("", job.kind) and words.casefold() in _words_of(job)]
        page, pages = _page(params, len(wanted), JOBS_A_PAGE)
        shown = wanted[(page - 1) * JOBS_A_PAGE : page * JOBS_A_PAGE]
        values = {"jobs": shown, "total": len(wanted), "all": len(jobs), "found": found, "kinds": kinds, "root": str(self.root)}
        return Shown("jobs.html.j2", {**values, "words": words, "kind": kind, "page": page, "pages": pages})

    def job(self, params: Params) -> Shown:
        """One job: state, scores by set of answers, settings, the end of its log."""
        job = self._job(params.get("job", ""))
        sets = self._sets(job)
        page, pages = _page(params, len(sets), SETS_A_PAGE)
        shown = sets[(page - 1) * SETS_A_PAGE : page * SETS_A_PAGE]
        rows = [(one, scored(one)) for one in shown]
        troubles = [*job.troubles, *(told for one in shown for told in _troubles(one))]
        values = {"job": job, "rows": rows, "troubles": troubles, "page": page, "pages": pages}
        values["command"] = command_of(job)
        values["settings"] = {name: said(value) for name, value in job.settings.items()}
        return Shown("job.html.j2", {**values, "log": "\n".join(log_tail(job.place)[-LOG_LINES:]), "others": self._other_names(job)})

    def answers(self, params: Params) -> Shown:
        """A page of the answers that are wanted."""
        job = self._job(params.get("job", ""))
        sets = self._sets(job)
        chosen, wanted = self._chosen(sets, params), self._wanted(params)
        found = hits(chosen, wanted, self._searches)
        number = _number(params.get("page", ""), 10)
        shown, pages = page_of(found, number)
        states = sorted({name for one in chosen for name in one.file.table.state_names})
        values = {"job": job, "sets": sets, "chosen": params.get("set", ""), "wanted": wanted, "verdicts": VERDICTS, "states": states}
        values |= {
            "rows": _rows(shown),
            "total": sum(len(one.places) for one in found),
            "page": min(max(number, 1), pages),
            "pages": pages,
        }
        return Shown("answers.html.j2", {**values, "filters": _filters(params)})

    def question(self, params: Params) -> Shown:
        """One question with every answer to it: of the set that was chosen first, then of the job's others, and of another job's."""
        job = self._job(params.get("job", ""))
        key = _number(params.get("question", ""), 16)
        sets = self._sets(job)
        first = [one for one in sets if one.name == params.get("set")]
        found = [(job, one, line) for one in [*first, *(one for one in sets if one not in first)] for line in _answer_to(key, one)]
        if params.get("other_job") and params.get("other"):
            other = self._job(params["other_job"])
            found[1:1] = [(other, one, line) for one in self._named(self._sets(other), params["other"]) for line in _answer_to(key, one)]
        if not found:
            raise NotFoundError("No answer to this question is on file; it may have been moved aside since the page was made.")
        question, cards = cards_of(found)
        values = {"job": job, "question": question, "cards": cards, "filters": _filters(params), "id": text_of(found[0][2].get("id"))}
        return Shown("question.html.j2", {**values, **self._neighbours(first, key, params)})

    def compare(self, names: Sequence[str], sets: Sequence[str]) -> Shown:
        """Two jobs, or two sets of answers, against each other."""
        if len(names) == 1:
            names = [names[0], names[0]]
        if len(names) != 2:
            raise NotFoundError(f"Two jobs can be compared, and {len(names)} are chosen: mark two in the list of runs.")
        first, second = map(self._job, names)
        both = [self._sets(job) for job in (first, second)]
        pairs = same_named(*both) if first.place != second.place else []
        values: dict[str, Any] = {
            "first": first,
            "second": second,
            "pairs": [_pair_row(one, first, second) for one in pairs],
            "chosen": list(sets),
            "sets": both,
            "differences": settings_that_differ(first, second),
        }
        if len(sets) == 2 and all(sets):
            one, other = (self._named(there, name)[0] for there, name in zip(both, sets, strict=True))
            values["picked"] = _pair_row(pair(one, other), first, second)
        return Shown("compare.html.j2", {"picked": None, **values})

    def report(self, params: Params) -> Path:
        """A job's own report."""
        job = self._job(params.get("job", ""))
        name = params.get("file", "")
        path = inside(job.place, name) if name in job.reports else None
        if path is None:
            raise NotFoundError(f"{job.place.name} has no report {name!r}; it has {list(job.reports) or 'none'}.")
        return path

    def _job(self, name: str) -> Summary:
        found: Found = find(self.root)
        if name not in found.places:
            raise NotFoundError(f"There is no run {name!r} in this folder. It may have been moved; the list of runs says what there is.")
        return summary(found.places[name])

    def _sets(self, job: Summary) -> list[AnswerSet]:
        return sets_of(job, self._files)

    def _named(self, sets: Sequence[AnswerSet], name: str) -> list[AnswerSet]:
        found = [one for one in sets if one.name == name]
        if not found:
            raise NotFoundError(f"There are no answers {name!r} in this run; it has {[one.name for one in sets]}.")
        return found

    def _chosen(self, sets: Sequence[AnswerSet], params: Params) -> Sequence[AnswerSet]:
        return self._named(sets, params["set"]) if params.get("set") else sets

    def _wanted(self, params: Params) -> Wanted:
        other = None
        if params.get("other_job") and params.get("other"):
            other = self._named(self._sets(self._job(params["other_job"])), params["other"])[0]
        words = params.get("words", "").strip()
        return Wanted(params.get("verdict", ""), params.get("state", ""), words, other, params.get("other_verdict", ""))

    def _other_names(self, job: Summary) -> list[str]:
        return [name for name in find(self.root).places if name != job.place.name]

    def _neighbours(self, chosen: Sequence[AnswerSet], key: int, params: Params) -> dict[str, Any]:
        """The questions before and behind this one among those that are wanted."""
        if not chosen:
            return {"before": None, "behind": None}
        found = hits(chosen, self._wanted(params), self._searches)[0]
        keys = found.table.keys[found.places].tolist()
        at = keys.index(key) if key in keys else None
        before = keys[at - 1] if at else None
        behind = keys[at + 1] if at is not None and at + 1 < len(keys) else None
        return {"before": before and f"{before:016x}", "behind": behind and f"{behind:016x}"}


class Row(NamedTuple):
    """An answer in a list."""

    answers: AnswerSet
    key: str
    id: str
    question: str
    answer: str
    gold: str
    verdict: str
    state: str


_CLIPPED = 240


def _rows(shown: Sequence[Hit]) -> list[Row]:
    return [_row(hit, line) for hit in shown for line in hit.answers.file.read(hit.table, [hit.place])]


def _row(hit: Hit, line: Line) -> Row:
    table = hit.table
    key = f"{int(table.keys[hit.place]):016x}"
    state = table.state_names[int(table.states[hit.place])].replace("_", " ")
    question, answer, gold = (_clipped(text_of(line.get(name))) for name in ("question", "answer", "gold"))
    return Row(hit.answers, key, text_of(line.get("id")), question, answer, gold, verdict(line), state)


def _clipped(text: str) -> str:
    return text if len(text) <= _CLIPPED else f"{text[:_CLIPPED]}…"


def _answer_to(key: int, answers: AnswerSet) -> list[Line]:
    import numpy as np

    table = answers.file.refresh()
    places = answers.places(table)
    return answers.file.read(table, places[np.flatnonzero(table.keys[places] == np.uint64(key))][:1].tolist())


def _troubles(answers: AnswerSet) -> list[str]:
    file = answers.file
    told = [f"{answers.name}: {file.unreadable}"] if file.unreadable else []
    count, first = file.damaged
    lines = f"{count_text(count)} lines are" if count > 1 else "1 line is"
    return told + ([f"{answers.name}: {lines} no answer, the first is line {first}; the others are shown."] if count else [])


def _pair_row(found: Pair, first: Summary, second: Summary) -> dict[str, Any]:
    """A comparison with its numbers as text, and what the address of its questions says."""
    record = found.record
    numbers = {
        "n": count_text(record["n"]),
        "delta": points_difference(record),
        "bounds": points_interval(record),
        "p": p_text(record.get("p_holm", record["p"])),
    }
    numbers["words"] = difference_words(record)
    counts = {name: count_text(record[name]) for name in ("wins", "losses", "ties")}
    scores = {"first_score": scored(found.first), "second_score": scored(found.second)}
    between = {"job": first.place.name, "set": found.first.name, "other_job": second.place.name, "other": found.second.name}
    return {"first": found.first, "second": found.second, "verdict": found.verdict, "between": between, **numbers, **counts, **scores}


def _filters(params: Params) -> dict[str, str]:
    """What an address says of the answers that are wanted, for the links of a page."""
    names = ("set", "verdict", "state", "words", "other_job", "other", "other_verdict")
    return {name: params[name] for name in names if params.get(name)}


def _words_of(job: Summary) -> str:
    return " ".join([job.place.name, job.kind, job.state, job.task, job.teacher, job.student]).casefold()


def _page(params: Params, total: int, size: int) -> tuple[int, int]:
    pages = max(1, -(-total // size))
    return min(max(_number(params.get("page", ""), 10), 1), pages), pages


def _number(text: str, base: int) -> int:
    try:
        return int(text[:20], base) if text.isalnum() and text.isascii() else 0
    except ValueError:
        return 0
