"""Replies that could not be read, counted on lines written by hand."""

from __future__ import annotations

from optimizers.evaluation.reply_counts import reply_counts
from optimizers.evaluation.summary import summarise
from optimizers.reports.replies import counts_of, cut_off_warning, endings_blocks, endings_of, replies_table, reply_warnings
from programs.lms.ledger import Usage


def line(number=0, **changes):
    known = {"id": str(number), "score": 1.0, "state": "ok", "detail": "", "unparsed": False, "error": None, "cut_off": False, "usage": {}}
    return {**known, **changes}


def test_each_kind_is_counted_and_each_question_once_in_all():
    lines = [
        line(1),
        line(2, state="unparseable", unparsed=True, cut_off=True),
        line(3, detail="no marked final answer", score=0.0),
        line(4, unparsed=True),
        line(5, error="unparseable: '...'", state=None, score=0.0),
        line(6, cut_off=True),
    ]
    found = {"n": 6, "no_marked_answer": 1, "unparseable": 3, "cut_off": 2, "any": 5}
    assert reply_counts(lines) == found == summarise(lines)["counts"]


def test_what_earlier_lines_do_not_tell_is_not_called_none():
    old = {key: value for key, value in line().items() if key in ("id", "score", "state", "error", "usage")}
    assert reply_counts([old])["cut_off"] is None
    assert reply_counts([]) == {"n": 0, "no_marked_answer": 0, "unparseable": 0, "cut_off": None, "any": 0}
    assert replies_table([("old", {"n": 1, "counts": reply_counts([old])})]).rows == [
        ["old", "1", "0 (0.0%)", "not counted", "0 (0.0%)", "0 (0.0%)"]
    ]
    assert counts_of({"n": 9, "unparsed": 2, "states": {"unparseable": 1}}) == {"n": 9, "unparseable": 2, "any": 2}
    assert counts_of({"n": 9}) == {}


def test_more_than_one_reply_in_twenty_is_said_at_the_top():
    unread = [line(number, state=None, unparsed=True, score=0.0) for number in range(9)]
    entry = summarise(unread)
    assert entry["failed"] == 0
    (warning,) = reply_warnings([("single-stage-cot", entry)])
    assert warning.tone == "warning" and warning.text.startswith(
        "Replies that are unreadable or cut off: single-stage-cot 9 (100.0%) of 9 (9 unparseable)."
    )
    assert reply_warnings([("fine", summarise([*unread[:1], *(line(number) for number in range(19))]))]) == []


def used(**finishes):
    return Usage(calls=sum(finishes.values()), input_tokens=1, finishes=finishes).to_dict()


def test_cut_off_replies_are_counted_by_stage_and_said_at_the_top():
    lines = [
        line(number, usage={"decompose": used(stop=1), "solve": used(**{"length" if number < 2 else "stop": 1})}) for number in range(20)
    ]
    entry, labelling = (
        summarise(lines),
        {"calls": 9, "stages": {"decompose": used(stop=19, length=1), "solve": used(content_filter=1, stop=9)}},
    )
    assert entry["solve"]["finishes"] == {"length": 2, "stop": 18} and entry["decompose"]["finishes"] == {"stop": 20}
    endings = endings_of([("teacher+teacher", entry), ("old", {"solve": {"calls": 3, "input_tokens": 5}})], labelling)
    _, table = endings_blocks(endings)
    assert table.rows == [
        ["labelling", "decompose", "20", "19", "1 (5.0%)", "-"],
        ["labelling", "solve", "10", "9", "0 (0.0%)", "content filter 1"],
        ["teacher+teacher", "decompose", "20", "20", "0 (0.0%)", "-"],
        ["teacher+teacher", "solve", "20", "18", "2 (10.0%)", "-"],
    ]
    (warning,) = cut_off_warning(endings)
    assert (
        warning.tone == "warning" and "(teacher+teacher, solve: 2 (10.0%) of 20)" in warning.text and "teacher.max_tokens" in warning.text
    )
    assert cut_off_warning(endings[:3]) == [] and endings_blocks(endings_of([], {})) == []
    # In an experiment each training task has labels of its own.
    assert endings_of([], {"gsm8k": labelling}, by_task=True)[0].name == "labelling, gsm8k"


def test_wrong_answers_that_have_the_reference_in_them_are_said_at_the_top():
    named = [line(number, score=0.0, measures={"contains": float(number < 3)}) for number in range(20)]
    (warning,) = reply_warnings([("single-stage-cot", summarise(named))])
    assert warning.tone == "warning"
    assert warning.text.startswith("Answers that are judged wrong and have the reference in them: single-stage-cot 3 of 20.")
    one = [line(number, score=0.0, measures={"contains": float(number < 1)}) for number in range(20)]
    assert reply_warnings([("fine", summarise(one))]) == []
