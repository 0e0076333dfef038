"""Many lines: what goes over them holds few of them in memory, and looks at each a fixed number of times."""

from __future__ import annotations

import hashlib
import json
import random
import tracemalloc
from collections import Counter

import dspy
import numpy as np
import pytest
from scripted import scripted_lm, two_stage_rule

from optimizers.evaluation import leakage, paired_intervals, statistics
from optimizers.evaluation.answers import answers, answers_on_file, last_answers, scores_of
from optimizers.evaluation.evaluate import Asking, evaluate
from optimizers.evaluation.summary import summarise
from optimizers.finetune.identity import TrainingIdentity
from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.trainer import _dataset
from optimizers.jobs.jsonlines import line_of, read_lines, write_whole
from optimizers.reports.questions import question_blocks
from optimizers.reports.read import answers_of, read_run
from programs.modules import TwoStage
from programs.tasks.base import Task, exact_match


class Towns(Task):
    name = summary = "towns"

    def load(self, split, limit=None):
        found = (dspy.Example(id=f"t{n}", question=f"Where is {n}?", context="", answer="Rome") for n in range(limit))
        return [one.with_inputs("context", "question") for one in found]

    def score(self, example, prediction):
        return exact_match(prediction.answer, [example.answer])


LONG = 20_000
"""Characters of the reasoning in a line: one that is held shows."""


def peak_of(work):
    """The most bytes that Python and numpy hold at a time during `work`, and what it gives."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def program():
    made = TwoStage(adapters={"decompose": "line", "solve": "line"})
    made.set_lm(scripted_lm(two_stage_rule, "openai/scripted"))
    return made


@pytest.fixture
def many(tmp_path, program):
    """Answers to 100 questions, each as `evaluate` writes it, with a long reasoning; and the questions."""
    examples, out = Towns().load("test", 100), tmp_path / "predictions" / "teacher+teacher.jsonl"
    lines = {line["id"]: line for line in evaluate(program, Towns(), examples, out=out)}
    asked_by = next(read_lines(out))["program"]
    write_whole(out, (line_of({**lines[one.id], "program": asked_by, "reasoning": "x" * LONG}) for one in examples))
    return out, examples


def test_answers_are_taken_up_again_and_summed_up_a_line_at_a_time(many, program):
    out, examples = many

    def taken_up():
        asking = Asking(program, Towns(), examples, out)
        asking.open()
        asking.close()
        return asking.missing, summarise(answers_on_file(out, examples)), scores_of(answers_on_file(out, examples))

    taken_up()  # loads what it needs
    (missing, found, scores), peak = peak_of(taken_up)
    assert (missing, found["n"], len(scores)) == ([], 100, 100)
    assert peak < out.stat().st_size / 4
    whole, most = peak_of(lambda: answers(out, examples))
    assert summarise(iter(whole)) == found and most > out.stat().st_size * 0.9


def test_a_report_reads_its_lines_one_at_a_time(many):
    out, _ = many
    write_whole(out.parents[1] / "config.toml", "")
    write_whole(out.parents[1] / "rows.jsonl", (line_of({"id": str(n), "kept": True, "text": "x" * LONG}) for n in range(100)))

    def read():
        run = read_run(out.parents[1])
        question_blocks(run.predictions)
        return sum(len(line["reasoning"]) for line in run.predictions["teacher+teacher"]), sum(row["kept"] for row in run.rows)

    read()
    found, peak = peak_of(read)
    assert found == (100 * LONG, 100)
    assert peak < out.stat().st_size / 4


def test_lines_on_file_are_a_sequence(tmp_path):
    path = tmp_path / "a.jsonl"
    write_whole(path, (line_of({"id": n % 3, "score": n, "error": None, "usage": {}}) for n in range(5)))
    found = last_answers(path)
    assert [line["score"] for line in found] == [3, 4, 2]
    assert (found[1]["score"], found[-1]["score"], [line["score"] for line in found[1:]], len(found[:1])) == (4, 2, [4, 2], 1)
    with pytest.raises(IndexError):
        found[3]
    assert [line["score"] for line in last_answers(path, [2, 0, 7])] == [2, 3]
    assert list(last_answers(tmp_path / "none.jsonl")) == []


class Looked(str):
    """A text that counts how often it is looked at."""

    looks = 0

    def __hash__(self):
        Looked.looks += 1
        return super().__hash__()

    def __eq__(self, other):
        Looked.looks += 1
        return super().__eq__(other)

    def __str__(self):
        return self


def looks_of(work):
    Looked.looks = 0
    work()
    return Looked.looks


@pytest.mark.parametrize("what", ["read", "choose"])
def test_questions_are_looked_up_not_searched_for(what, tmp_path):
    def looks(count):
        ids = [Looked(n) for n in range(count)]
        path = tmp_path / f"{count}.jsonl"
        lines = [{"id": one, "question": "q?", "score": float(n % 7 == 0)} for n, one in enumerate(ids)]
        write_whole(path, map(line_of, lines))
        other = [{**line, "score": 0.0} for line in lines]
        return looks_of(lambda: answers_of(path, ids) if what == "read" else question_blocks({"a": lines, "b": other}))

    few, many = looks(200), looks(800)
    assert 0 < many < 5 * few


def test_a_ratio_of_many_questions_has_the_bounds_of_few_and_takes_no_matrix():
    draw = np.random.default_rng(0)
    for levels in (1, 10):
        x, y = (draw.integers(0, levels + 1, 2000) / levels for _ in range(2))
        alone = statistics._bootstrap(statistics._ratio, (x, y), 0.95, 0)
        assert statistics._counted_bootstrap((x, y), 0.95, 0, 9999) == pytest.approx(alone, abs=0.005)
    right, wrong = {n: float(n % 3 > 0) for n in range(20_000)}, {n: float(n % 2) for n in range(20_000)}
    found, peak = peak_of(lambda: statistics.retention(right, wrong))
    assert found.low < 4 / 3 < found.high and found.high - found.low < 0.1
    assert peak < 60e6
    assert np.isnan(statistics.retention(dict.fromkeys(range(20000), 1.0), {n: float(n == 0) for n in range(20_000)}).low)


def test_patterns_of_signs_are_the_same_in_smaller_batches(monkeypatch):
    differences = np.random.default_rng(0).integers(-10, 11, 301) / 10
    whole = paired_intervals.sign_flip(differences, 0.95, 0, 9999)
    monkeypatch.setattr(paired_intervals, "_SIGNS", 301 * 50)
    assert paired_intervals.sign_flip(differences, 0.95, 0, 9999) == pytest.approx(whole, abs=1e-12)


def counted(texts, text, n, share):
    """Texts of whose n-grams a share stands in another one, by comparing it with all."""

    def grams(words):
        return {tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1))} if words else set()

    shares = {one: len(grams(one.split()) & grams(text.split())) / max(1, len(grams(one.split()))) for one in texts}
    return {one: found for one, found in shares.items() if found and found >= share}


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.7, 1.0])
def test_an_index_finds_all_texts_that_are_repeated(n, share):
    draw = random.Random(n)
    texts = list(dict.fromkeys(" ".join(draw.choices("abcdefgh", k=draw.randint(0, 14))) for _ in range(100)))
    index = leakage._Overlap(texts, n, share)
    for _ in range(60):
        text = " ".join(draw.choices("abcdefgh", k=draw.randint(0, 14)))
        assert index.repeated_in(text) == counted(texts, text, n, share)


def test_questions_that_begin_alike_are_not_all_compared(monkeypatch):
    compared = Counter()
    whole = leakage._Overlap._share_in
    monkeypatch.setattr(leakage._Overlap, "_share_in", lambda self, *given: compared.update("n") or whole(self, *given))
    first = "Answer the following question in a single word and do not explain it:"
    draw = random.Random(0)

    def asked(split):
        questions = (f"{first} {' '.join(f'w{draw.randrange(5000)}' for _ in range(20))}" for _ in range(100))
        return [dspy.Example(id=f"{split}{n}", question=question) for n, question in enumerate(questions)]

    train, test = asked("train"), asked("test")
    assert [leak.test_id for leak in leakage.find_leaks([*train, test[3]], test)] == ["test3"]
    assert compared.total() < 10


def chat(n):
    return [{"role": "user", "content": f"Where is {n}?" + "x" * 2000}, {"role": "assistant", "content": "Who?"}]


@pytest.mark.parametrize("dev", [0, 2])
def test_the_identity_of_a_training_is_that_of_all_its_rows_and_takes_one_at_a_time(dev):
    rows, spec = [{"id": str(n), "messages": chat(n)} for n in range(1000)], TrainingSpec(base="b")
    found, peak = peak_of(lambda: TrainingIdentity(rows, rows[:dev], spec, "line", "embedded/base").digest)
    settings = {**spec.model_dump(exclude={"threads", "save_steps", "device", "limits", "gradient_checkpointing", "microbatch_tokens"})}
    later = "adapter_scale neftune_noise kl_weight min_steps processes dtype load_in_4bit accelerate_config save_weights".split()
    settings = {**{name: value for name, value in settings.items() if name not in later}, "base": "embedded/base"}
    text = json.dumps([rows, rows[:dev], settings, "line"], sort_keys=True)
    assert found == hashlib.sha256(text.encode()).hexdigest()
    assert peak < len(text) / 4


def test_tokens_of_training_rows_are_kept_in_arrays(tmp_path):
    class Bytes:
        eos_token_id = 300

        def apply_chat_template(self, messages, **options):
            return "".join(message["content"] for message in messages)

        def __call__(self, text, **options):
            return {"input_ids": [200 + byte for byte in text.encode()]}

    path = tmp_path / "rows.jsonl"
    write_whole(path, (line_of({"messages": chat(n)}) for n in range(500)))
    _dataset(path, Bytes(), 4096)  # loads what it needs
    found, peak = peak_of(lambda: _dataset(path, Bytes(), 4096))
    tokens = sum(map(len, found["input_ids"]))
    assert found[499] == {"input_ids": [200 + byte for byte in "".join(one["content"] for one in chat(499)).encode()] + [300],
                          "completion_mask": [0] * len(chat(499)[0]["content"]) + [1] * 5}  # fmt: skip
    # Lists of Python's numbers would take 48 bytes a token.
    assert peak < 30 * tokens
