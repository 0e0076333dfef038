"""Leaks that are known to be there, among real questions that are not."""

from __future__ import annotations

import json
import re
import time

import dspy
import pytest

from optimizers.evaluation.leakage import find_leaks, keep_out
from programs.tasks import load_task, overlapping
from programs.tasks._rows import SHIPPED_FOLDER
from programs.tasks.base import canonical


def example(key, question, context="", **fields):
    return dspy.Example(id=key, question=question, context=context, answer="", **fields).with_inputs("context", "question")


def rows(name):
    lines = (SHIPPED_FOLDER / f"gsm8k_{name}.jsonl").read_text().splitlines()
    return [example(f"{name}-{i}", json.loads(line)["question"]) for i, line in enumerate(lines)]


@pytest.fixture(scope="module")
def train():
    return rows("train")


@pytest.fixture(scope="module")
def test():
    return rows("test")


def disguised(one, change):
    return example(f"copy of {one.id}", change(one.question))


def with_another_number(question):
    """`question` with its first number that stands there once changed; None without one."""
    for number in re.findall(r"(?<![\d.,])\d+(?![\d.,]*\d)", question):
        if len(re.findall(rf"\b{number}\b", question)) == 1:
            return re.sub(rf"\b{number}\b", str(int(number) + 1), question)
    return None


def test_real_splits_are_clean(train, test):
    assert find_leaks(train, test) == []


def test_exact_copies_are_found_and_kept_out(train, test):
    leaks = find_leaks([*train, *(disguised(one, str) for one in test[:20])], test)
    assert [(leak.test_id, leak.train_id, leak.kind, leak.share) for leak in leaks] == [
        (f"test-{i}", f"copy of test-{i}", "exact", 1.0) for i in range(20)
    ]
    assert leaks[3].test_question == leaks[3].train_question == test[3].question
    assert keep_out(test, leaks) == test[20:]


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda text: re.sub(r"\.(?=\s|$)", " !", text), lambda text: f"  {text}\n"])
def test_case_punctuation_and_space_are_no_disguise(train, test, change):
    leaks = find_leaks([*train, *(disguised(one, change) for one in test)], test)
    assert [(leak.train_id, leak.kind) for leak in leaks] == [(f"copy of {one.id}", "exact") for one in test]


def test_one_changed_number_is_near_and_not_exact(train, test):
    changed = {one.id: question for one in test if (question := with_another_number(one.question))}
    # One word breaks at most 8 of the 8-grams: of 16 at least half remain.
    long = [one for one in test if one.id in changed and len(set(grams(one.question))) >= 16]
    assert len(long) > 120
    leaks = find_leaks([*train, *(example(f"copy of {key}", question) for key, question in changed.items())], test)
    found = {leak.test_id: leak for leak in leaks}
    assert {leak.kind for leak in leaks} == {"near"}
    for one in long:
        assert found[one.id].train_id == f"copy of {one.id}"
        assert 0.5 <= found[one.id].share < 1


def shifted(question, by):
    """`question` with all of its numbers changed."""
    return re.sub(r"\d+", lambda number: str(int(number[0]) + by), question)


def grams(question, n=8):
    words = canonical(question).split()
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def test_share_is_that_of_the_formula(test):
    one = max(test, key=lambda one: len(one.question))
    part = " ".join(one.question.split()[: int(0.8 * len(one.question.split()))])
    (leak,) = find_leaks([example("part", part)], [one])
    assert leak.share == pytest.approx(len(set(grams(part)) & set(grams(one.question))) / len(set(grams(one.question))))
    assert find_leaks([example("part", part)], [one], share=leak.share) == [leak]
    assert find_leaks([example("part", part)], [one], share=leak.share + 0.001) == []


def test_overlap_is_with_one_training_question_not_with_all_together(test):
    words = max(test, key=lambda one: len(one.question)).question.split()
    parts = [example(str(at), " ".join(words[at : at + len(words) // 3 + 8])) for at in range(0, len(words), len(words) // 3)]
    assert find_leaks(parts, [example("whole", " ".join(words))]) == []


def test_a_changed_word_in_a_short_question_takes_shorter_n_grams():
    one = example("t", "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting. How much did she earn?")
    other = example("c", one.question.replace("50", "55"))
    assert find_leaks([other], [one]) == []
    assert find_leaks([other], [one], n=4)[0].kind == "near"


def test_short_questions_must_be_repeated_whole():
    one = example("t", "Who is the mother of Julia Reed?")
    assert find_leaks([example("c", "Who is the mother of Julia Stone?")], [one]) == []
    assert find_leaks([example("c", "Who is the mother of Julia Reed, and where does the brother of Julia Reed live?")], [one]) == []
    assert find_leaks([example("c", "who is the mother of julia reed")], [one])[0].kind == "exact"
    # With a passage on one side it is not the same example, but the same question.
    assert find_leaks([example("c", "who is the mother of julia reed", PASSAGE)], [one])[0][2:4] == ("near", 1.0)


TEMPLATE = "Where was the place of death of the director of the film {}?"


def test_a_template_with_another_name_is_another_question():
    one = example("t", TEMPLATE.format("Silent River"))
    copies = [example("other", TEMPLATE.format("Broken Tower")), example("more", "Tell me: " + TEMPLATE.format("Silent River"))]
    assert find_leaks(copies[:1], [one]) == []
    assert [leak.train_id for leak in find_leaks(copies, [one])] == ["more"]
    # It is the names that tell them apart: without any, the n-grams decide.
    assert find_leaks([example("other", copies[0].question.lower())], [example("t", one.question.lower())])


def test_the_start_of_a_sentence_is_no_name():
    one = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?"
    other = one.replace("2", "3").replace("How many", "What number of")
    assert find_leaks([example("c", other)], [example("t", one)], n=3)
    assert not find_leaks([example("c", other)], [example("t", one.replace("fiber.", "fiber,"))], n=3)


PASSAGE = "The Chiefs went home to face the Raiders in the last week. In the first quarter they trailed by a field goal of 38 yards."
GAME = "How many touchdowns were scored by both of the teams in the first half?"


def test_the_same_question_on_another_passage_is_another_question():
    one = example("t", GAME, PASSAGE)
    other = "Hoping to rebound from their loss to the Bears, the Lions flew to Green Bay for a duel with the Packers that evening."
    assert find_leaks([example("other", GAME, other)], [one]) == []
    assert find_leaks([example("same", GAME.lower(), PASSAGE.upper())], [one])[0].kind == "exact"
    (leak,) = find_leaks([example("edited", GAME, PASSAGE.replace("38", "39"))], [one])
    assert (leak.kind, leak.share) == ("near", 1.0)
    (leak,) = find_leaks([example("no passage", GAME)], [one])
    assert leak.train_id == "no passage"
    assert find_leaks([example("other", GAME, other)], [example("t", GAME)])[0].kind == "near"


def test_the_most_alike_training_question_is_named(test):
    one = max(test, key=lambda one: len(one.question))
    words = one.question.split()
    copies = [example(f"copy {at}", " ".join(words[cut:])) for at, cut in enumerate((9, 1, 5, 1, 7))]
    (leak,) = find_leaks(copies, [one])
    assert leak.train_id == "copy 1"
    assert leak.train_question == copies[1].question


def test_embedded_splits_are_clean_and_a_chain_is_the_same_question():
    task = load_task("multihop", hops="2,3,4", schema="people,books")
    train, test = task.load("train", 1500), task.load("test", 500)
    assert find_leaks(train, test) == []
    without = [example(one.id, one.question, chain=one.chain) for one in train + test]
    assert find_leaks(without[:1500], without[1500:], share=0.1) == []
    reworded = [example("again", "Something else?", chain=test[7].chain)]
    assert [(leak.test_id, leak.kind) for leak in find_leaks(train + reworded, test)] == [(test[7].id, "exact")]
    assert len(overlapping({"train": train + reworded, "test": test})) == 1


def test_doubled_test_questions_are_all_found(test):
    twice = [*test[:3], *(disguised(one, str) for one in test[:3])]
    assert len(find_leaks([disguised(test[1], str)], twice)) == 2
    changed = example("c", with_another_number(test[1].question) or "")
    assert {leak.test_question for leak in find_leaks([changed], twice, n=4)} == {test[1].question}


def test_nothing_leaks_from_or_into_nothing(train):
    assert find_leaks([], train) == find_leaks(train, []) == []
    assert find_leaks([example("c", "?")], [example("t", "Who?")]) == []
    assert keep_out(train, []) == train


@pytest.mark.parametrize("options", [{"n": 0}, {"share": 0}, {"share": 1.5}])
def test_bad_options_are_named(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"`{name}`.*got {value}"):
        find_leaks([], [], **options)


def test_a_benchmark_takes_seconds(train, test):
    """As many rows as GSM8K has: 7,473 x 1,319, made of the real ones with other numbers, which are near one another."""
    many = [example(f"{i}", shifted(one.question, i)) for i in range(15) for one in train]
    wanted = [example(f"{i}-{one.id}", shifted(one.question, i)) for i in range(7) for one in test]
    started = time.process_time()
    find_leaks(many, wanted)
    assert time.process_time() - started < 60
