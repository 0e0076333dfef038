"""Files without splits: what a student is trained on is not what it is tested on."""

from __future__ import annotations

import json
import logging

import pytest

from programs.tasks import load_task
from programs.tasks.base import SPLITS


def splits(tmp_path, rows, **options):
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"answer": "x", **row}) + "\n" for row in rows))
    task = load_task("jsonl", path=path, fractions="0.6,0.2,0.2", **options)
    return {split: task.load(split) for split in SPLITS}


def spread(found, field):
    """How many values of a field stand in several splits."""
    values = [{example[field] for example in examples} for examples in found.values()]
    return sum(len(a & b) for place, a in enumerate(values) for b in values[place + 1 :])


def test_questions_on_one_passage_stand_in_one_split(tmp_path):
    """As in SQuAD: a student that saw a passage in training has seen its facts, and scores too well."""
    found = splits(tmp_path, [{"question": f"What is {i}.{j}?", "context": f"Passage {i}."} for i in range(40) for j in range(5)])
    assert spread(found, "context") == 0
    assert [len(found[split]) for split in SPLITS] == [120, 40, 40]


def test_a_passage_in_other_characters_is_the_same(tmp_path):
    forms = ("It's so {}.", "It’s  so {}.", "it's so {}.")
    found = splits(tmp_path, [{"question": f"What is {i}.{f}?", "context": f.format(i)} for i in range(30) for f in forms])
    assert spread({name: [{"n": one.context.split()[-1]} for one in examples] for name, examples in found.items()}, "n") == 0


def test_without_shared_passages_nothing_is_divided_otherwise(tmp_path):
    rows = [{"question": f"What is {i}?"} for i in range(50)]
    plain = splits(tmp_path, rows)
    on_passages = splits(tmp_path, [{**row, "context": f"Passage {i}."} for i, row in enumerate(rows)])
    assert [one.question for one in plain["test"]] == [one.question for one in on_passages["test"]]


@pytest.mark.parametrize("passages", [1, 3])
def test_a_file_on_a_few_passages_is_divided_by_question_and_says_so(tmp_path, caplog, passages):
    with caplog.at_level(logging.WARNING, "divide_or_conquer"):
        found = splits(tmp_path, [{"question": f"What is {i}?", "context": f"Passage {i % passages}."} for i in range(60)])
    assert [len(found[split]) for split in SPLITS] == [36, 12, 12]
    assert "questions on the same passage stand in several splits" in caplog.text


def test_one_question_to_many_passages_is_divided_by_these(tmp_path, caplog):
    """As in extraction: the same words under every document would be one group, and one split."""
    found = splits(tmp_path, [{"question": "What is the total?", "context": f"Receipt {i}."} for i in range(50)])
    assert [len(found[split]) for split in SPLITS] == [30, 10, 10] and spread(found, "context") == 0
    assert not caplog.text
