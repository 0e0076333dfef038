"""DROP's metric against AllenNLP's, the official one, which `.ci/second-opinion.txt` pins; and the task around it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import random
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import dspy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from programs.feedback import feedback_two_stage
from programs.modules import SingleStage, two_stage, with_answer_format
from programs.signatures import Solve
from programs.tasks._drop_metric import answer_spans, best_of, em_f1, join_spans, strict
from programs.tasks.base import SPLITS, overlapping
from programs.tasks.registry import load_task


@pytest.fixture(scope="session")
def official() -> ModuleType:
    """The file alone: its package would need the whole of AllenNLP."""
    try:
        distribution = importlib.metadata.distribution("allennlp-models")
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("allennlp-models is missing: make setup, or pip install --no-deps --requirement .ci/second-opinion.txt")
    file = str(distribution.locate_file("allennlp_models/rc/tools/drop.py"))
    spec = importlib.util.spec_from_file_location("official_drop", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample(benchmark_data: Path) -> dict[str, Any]:
    return json.loads((benchmark_data / "drop_sample.json").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def writer(content: Any, name: str = "drop.json") -> Path:
        path = tmp_path / name
        lines = "".join(json.dumps(row) + "\n" for row in content) if name.endswith(".jsonl") else json.dumps(content)
        path.write_text(lines, encoding="utf-8")
        return path

    return writer


def passages(count: int, questions: int = 3) -> dict[str, Any]:
    return {
        f"history_{p}": {
            "passage": f"Passage {p}.",
            "qa_pairs": [{"question": f"What is {q}?", "query_id": f"{p}-{q}", "answer": {"number": str(q + 1)}} for q in range(questions)],
        }
        for p in range(count)
    }


def question(answer: Any, *validated: Any) -> dict[str, Any]:
    """A file of one question."""
    pair = {"question": "Who?", "query_id": "q1", "answer": answer, "validated_answers": list(validated)}
    return {"nfl_1": {"passage": "A game.", "qa_pairs": [pair]}}


def asked(*answers: list[str]) -> dspy.Example:
    return dspy.Example(answer=join_spans(answers[0]), answers=list(answers))


def judged(reply: Any, *answers: list[str], scoring: str = "strict") -> dict[str, float]:
    return dict(load_task("drop", scoring=scoring, path=None).score(asked(*answers), dspy.Prediction(answer=reply)).measures)


# The cases of the official test suite (allennlp-models, tests/rc/evaluations/drop_test.py), as (predicted, gold, EM, F1).
CAT = ["the", "fat", "cat", "the fat", "fat cat", "the fat cat"]
OFFICIAL_CASES = [
    (["78"], ["78.0"], 1, 1),
    ("12.0", "12", 1, 1),
    ("12.000", "  1.2e1  ", 1, 1),
    ("3.0", "3", 1, 1),
    ("S.K. Singh", "sk singh", 1, 1),
    (["td"], ["td", "td"], 0, 0.5),
    ("td", ["td", "td"], 0, 0.5),
    (["td", "td"], ["td"], 0, 0.5),
    (["td", "td"], "td", 0, 0.5),
    (CAT, ["cat"], 0, 0.17),
    (["cat"], CAT, 0, 0.17),
    (CAT, ["cat", "cat dog"], 0, 0.25),
    (["td"], ["the td"], 1, 1),
    (["the a NOT an ARTICLE the an a"], ["NOT ARTICLE"], 1, 1),
    (["John Elton"], ["Elton John"], 0, 1),
    (["50 yard"], ["yard 50"], 0, 1),
    (["order word right"], ["right word order"], 0, 1),
    (["Per.i.o.d...."], [".P....e.r,,i;;;o...d,,"], 1, 1),
    (["Spa     c  e   s     "], ["    Spa c     e s"], 1, 1),
    (["78-yard"], ["78 yard"], 1, 1),
    (["78"], ["78-yard"], 0, 0.67),
    (["78-yard"], ["78"], 0, 0.67),
    (["This was a triumph"], ["tHIS Was A TRIUMPH"], 1, 1),
    (["Green bay", "packers"], ["Green bay", "packers"], 1, 1),
    (["packers", "Green bay"], ["Green bay", "packers"], 1, 1),
    ([""], ["army"], 0, 0),
    (["packers"], ["Green bay packers"], 0, 0.5),
    (["packers"], ["Green bay"], 0, 0),
    (["yard"], ["36 yard td"], 0, 0),
    (["23 yards"], ["43 yards"], 0, 0),
    (["56 yards"], ["56 yd"], 0, 0.5),
    (["26"], ["26 yard td"], 0, 0.5),
    (["78-yard", "56", "28", "40", "44", "touchdown"], ["78-yard", "56 yard", "1 yard touchdown"], 0, 0.28),
    (["23", "23 yard"], ["23-yard", "56 yards"], 0, 0.5),
    (["John Karman", "Joe Hardy"], ["Joe Karman", "John Hardy"], 0, 0.5),
    (["ottoman", "Kantakouzenous"], ["ottoman", "army of Kantakouzenous"], 0, 0.75),
    (["a"], ["a", "b"], 0, 0.5),
    (["b"], ["a", "b"], 0, 0.5),
    (["b"], ["b", "a"], 0, 0.5),
    ("", "", 1, 1),
    ("", "the", 1, 1),
    (["x"], ["x", ""], 0, 0.5),
    ("Straße", "STRASSE", 0, 0),
]


@pytest.mark.parametrize(("predicted", "gold", "em", "f1"), OFFICIAL_CASES)
def test_the_cases_of_the_official_test_suite(official: ModuleType, predicted: Any, gold: Any, em: float, f1: float) -> None:
    assert em_f1(predicted, gold) == (em, f1)
    assert official.get_metrics(predicted, gold) == (em, f1)


ANNOTATIONS = [
    ("1", 1.0, [{"number": "1"}, {"number": "0"}]),
    ("2", 1.0, [{"spans": ["2"]}, {"number": "2"}]),
    ("1", 1.0, [{"spans": ["0"]}, {"number": "1"}, {"number": "2"}]),
    ("17 August", 1.0, [{"date": {"day": "17", "month": "August", "year": ""}}, {"spans": ["August"]}, {"number": "17"}]),
    ("1791", 1.0, [{"date": {"day": "", "month": "", "year": "1791"}}]),
    ("span1", 0.5, [{"spans": ["span1", "span2"]}, {"spans": ["span2"]}]),
    ("answer", 0.0, [{"spans": ["answer1"]}, {"spans": ["answer2"]}]),
    ("5-yard", 0.67, [{"number": "5"}, {"spans": ["7-meters"]}]),
    # EM from the one alternate, F1 from the other: the official maxima are taken apart.
    (["b c", "a", "a"], 1.0, [{"spans": ["b c", "b c", "a"]}, {"spans": ["c b", "a", "a"]}]),
    (["b c", "a", "a"], 0.67, [{"spans": ["b c", "b c", "a"]}]),
    (["", "x"], 0.0, [{"spans": ["", "x"]}]),
    ("", 0.0, [{"number": "", "spans": [], "date": {"day": "", "month": "", "year": ""}}]),
]


@pytest.mark.parametrize(("predicted", "f1", "answers"), ANNOTATIONS)
def test_best_of_the_annotations_as_the_official_evaluation(official: ModuleType, predicted: Any, f1: float, answers: list[Any]) -> None:
    file = {"p": {"qa_pairs": [{"answer": answers[0], "validated_answers": answers[1:], "query_id": "q"}]}}
    with redirect_stdout(io.StringIO()):
        expected = official.evaluate_json(file, {"q": predicted})
    assert best_of(predicted, [answer_spans(answer) for answer in answers]) == expected
    assert expected[1] == f1


def gold_answers(sample: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = [pair for entry in sample.values() for pair in entry["qa_pairs"]]
    return [answer for pair in pairs for answer in [pair["answer"], *(pair.get("validated_answers") or [])]]


def test_every_answer_of_the_sample_is_read_as_officially(official: ModuleType, sample: dict[str, Any]) -> None:
    answers = gold_answers(sample)
    assert len(answers) >= 19
    for answer in answers:
        spans = list(official.answer_json_to_strings(answer)[0])
        assert answer_spans(answer) == spans
        for predicted in (spans, *spans, ", ".join(spans)):
            assert em_f1(predicted, spans) == official.get_metrics(predicted, spans)


WORDS = """a an the The 3 3.0 12 1,000 -7 1e3 nan inf ½ ٣ yard yards 38-yard Kansas City, Müller 東京 ΑΣ İstanbul ﬁeld – ’s . - --
$5 5% Q3""".split()


def perturbed(spans: list[str], rng: random.Random) -> Any:
    """Another answer: words dropped, swapped, changed, added; spans split, joined, doubled, emptied; another type."""
    spans = [change_words(span, rng) if rng.random() < 0.8 else span for span in spans]
    change = rng.randrange(7)
    if change == 0:
        spans = [part for span in spans for part in span.split(" ", rng.randint(0, 3))]
    elif change == 1:
        spans = [rng.choice([" ", ", ", "-", "\n"]).join(spans)]
    elif change == 2:
        spans.insert(rng.randrange(len(spans) + 1), rng.choice(["", *spans, *WORDS]))
    rng.shuffle(spans)
    return rng.choice([spans, spans, tuple(spans), " ".join(spans)])


def change_words(span: str, rng: random.Random) -> str:
    words = span.split(" ")
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(words)) if words else 0
        action = rng.randrange(6)
        if action == 0 and words:
            del words[place]
        elif action == 1:
            words.insert(place, rng.choice(WORDS))
        elif action == 2 and words:
            words[place] = rng.choice([str.upper, str.title, str.swapcase])(words[place])
        elif action == 3 and words:
            words[place] += rng.choice(["-", ".", ",", "\t", "\xa0", ".0", "0", "'s", "\u0301"])
        elif action == 4:
            rng.shuffle(words)
        elif words:
            words[place] = rng.choice([str(rng.randint(0, 40)), f"{rng.random() * 9:.1f}"])
    return rng.choice([" ", " ", " ", "  ", "-"]).join(words)


def test_two_thousand_perturbed_answers_score_as_officially(official: ModuleType, sample: dict[str, Any]) -> None:
    rng = random.Random(0)
    golds = [answer_spans(answer) for answer in gold_answers(sample)] + [["78-yard", "56 yard", "1 yard touchdown"], ["ottoman", "a b"]]
    seen: set[tuple[float, float]] = set()
    for _ in range(2000):
        gold = rng.choice(golds) if rng.random() < 0.5 else [w for span in rng.sample(golds, rng.randint(1, 4)) for w in span]
        if rng.random() < 0.3:
            gold = [change_words(span, rng) for span in gold]
        predicted = perturbed(gold, rng)
        expected = official.get_metrics(predicted, gold)
        assert em_f1(predicted, gold) == expected, (predicted, gold)
        seen.add(expected)
    assert len(seen) > 30 and {(1.0, 1.0), (0.0, 0.0)} < seen


# Answers close to each other, so that alignments, ties and rounding matter.
NEAR = st.lists(
    st.lists(st.sampled_from(["x", "y", "z", "the", "1", "1.0", "2", "2-x", "Y."]), max_size=7).map(" ".join), min_size=1, max_size=9
)


@settings(max_examples=500, deadline=None)
@given(NEAR | st.text(), NEAR | st.text())
def test_any_two_answers_score_as_officially(official: ModuleType, predicted: Any, gold: Any) -> None:
    assert em_f1(predicted, gold) == official.get_metrics(predicted, gold)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Nd"])),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING, ANYTHING)
def test_the_metric_takes_anything(predicted: Any, gold: Any) -> None:
    assert all(0 <= value <= 1 for value in em_f1(predicted, gold))


@settings(max_examples=200, deadline=None)
@given(ANYTHING, st.lists(st.lists(st.text(), max_size=3), max_size=3), st.sampled_from(["strict", "lenient"]))
def test_the_score_takes_anything(reply: Any, answers: list[list[str]], scoring: str) -> None:
    task = load_task("drop", scoring=scoring)
    score = task.score(dspy.Example(answer="", answers=answers), dspy.Prediction(answer=reply))
    if score.is_unscored:
        assert not any(spans and spans[0].strip() for spans in answers)
    else:
        assert score.value == score.measures["f1"] and all(0 <= value <= 1 for value in score.measures.values())


@pytest.mark.parametrize("value", [pytest.param(10**5000, id="5001 digits"), object(), None, [], (), {}, [None], float("nan"), [[["x"]]]])
def test_odd_values_are_no_error(value: Any) -> None:
    assert em_f1(value, ["Kansas City"]) == (0.0, 0.0)
    assert em_f1(["Kansas City"], value) == (0.0, 0.0)
    assert strict(value, [["Kansas City"]]) == (0.0, 0.0)


def test_no_answer_is_never_right() -> None:
    assert em_f1(None, "") == em_f1([], "") == em_f1([], []) == em_f1("", []) == (0.0, 0.0)
    assert strict("", [["the"]]) == strict(" \n", [["the"]]) == (0.0, 0.0)


SPAN = st.text(min_size=1).filter(lambda span: span.strip())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(SPAN, min_size=1, max_size=4), min_size=1, max_size=3))
def test_each_alternate_gives_one_to_itself(answers: list[list[str]]) -> None:
    for spans in answers:
        assert strict(spans, answers) == strict(tuple(spans), answers) == (1.0, 1.0)
        if len(spans) == 1:
            assert strict(spans[0], answers) == (1.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.from_regex(r"[A-Za-z0-9]{1,8}( [A-Za-z0-9]{1,8}){0,2}", fullmatch=True), min_size=1, max_size=4),
    st.sampled_from(["\n", "; ", ";\n"]),
)
def test_spans_on_lines_or_between_semicolons_give_one(spans: list[str], separator: str) -> None:
    assume(not any("answer" in span.lower() for span in spans))
    assert strict(separator.join(spans), [spans]) == (1.0, 1.0)
    assert strict("So the answer is: " + separator.join(spans) + "\n", [spans]) == (1.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abANt 3.-,;:\n"), st.lists(st.text(alphabet="abANt 3.-,"), min_size=1, max_size=2))
def test_case_and_surplus_spaces_change_nothing(reply: str, gold: list[str]) -> None:
    spaced = "  " + reply.replace(" ", "   ") + " \n"
    assert strict(reply.upper(), [gold]) == strict(reply.lower(), [gold]) == strict(spaced, [gold])
    assert em_f1(reply.upper(), gold) == em_f1(" " + reply.replace(" ", "  "), gold) == em_f1(reply, [span.upper() for span in gold])


def test_the_own_answer_of_every_example_is_right(benchmark_data: Path) -> None:
    task = load_task("drop", path=benchmark_data)
    for example in task.load("test"):
        for answer in (example.answer, f"The answer is: {example.answer}", example.answer + "\n"):
            assert dict(task.score(example, dspy.Prediction(answer=answer)).measures) == {"em": 1, "f1": 1}


def test_the_own_answer_is_right_whatever_its_spans_hold(write: Callable[..., Path]) -> None:
    task = load_task("drop", path=write(question({"spans": ["Chiefs", "Raiders"]})))
    (example,) = task.load("test")
    assert example.answer == "Chiefs; Raiders"
    for spans in (
        ["Chiefs", "Raiders"],
        ["a; b", "c"],
        ["a\nb", "c"],
        ["x", "Note: y"],
        ["the answer is a", "b"],
        ["1,000", "2"],
        ["a, b", "c and d"],
    ):
        assert judged(join_spans(spans), spans) == {"em": 1, "f1": 1}
        assert judged(join_spans(spans) + "; z", spans)["em"] == 0


def test_the_solver_and_its_baselines_are_told_how_to_write_several_spans_and_other_tasks_change_nothing() -> None:
    drop, other = load_task("drop"), load_task("multihop")
    for make in (lambda task: two_stage(task, None, None), lambda task: feedback_two_stage(task, None, None)):
        told, untold = make(drop), make(other)
        assert told.solve.signature.instructions == f"{Solve.instructions} {drop.answer_format}"
        assert told.decompose.signature.instructions == untold.decompose.signature.instructions
        assert untold.solve.signature is Solve
    single = with_answer_format(SingleStage(chain_of_thought=True), drop)
    assert "semicolons" in single.answer.predict.signature.instructions
    again = with_answer_format(single, drop).answer.predict.signature.instructions
    assert again.count("semicolons") == 1
    assert load_task("mixture", parts="multihop,drop", max_subquestions=3, decomposer_sees_context=True).answer_format == drop.answer_format


class TestTrap:
    """What the paper's authors' scorer does in a case (`lenient`), and what the official rule does (`strict`)."""

    def test_multi_span_answers_are_scored_on_one_span(self) -> None:
        gold = ["Brady", "Manning"]
        assert judged("Brady", gold, scoring="lenient")["f1"] == 1
        assert judged("Brady", gold) == {"em": 0, "f1": 0.5}
        assert judged("Manning; Brady", gold) == judged(["Brady", "Manning"], gold) == {"em": 1, "f1": 1}

    def test_alternates_are_ignored(self) -> None:
        golds = (["Rams"], ["Chargers"], ["Rams"])
        assert judged("Chargers", *golds, scoring="lenient")["f1"] == 0
        assert judged("Chargers", *golds)["f1"] == 1

    def test_the_first_of_equally_frequent_answers_is_the_authors_gold(self) -> None:
        assert judged("Rams", ["Rams"], ["Chargers"], scoring="lenient")["f1"] == 1
        assert judged("Rams", ["Chargers"], ["Rams"], ["Rams"], scoring="lenient")["f1"] == 1

    def test_the_sign_of_minus_three_is_lost(self) -> None:
        # Officially too, as it splits at hyphens; DROP has no negative answers.
        assert judged("-3", ["3"], scoring="lenient")["f1"] == 1
        assert judged("-3", ["3"])["f1"] == 1

    def test_twelve_to_fifteen_is_two_numbers(self) -> None:
        for scoring in ("strict", "lenient"):
            assert judged("12-15", ["12-15"], scoring=scoring)["f1"] == 1
            assert judged("12-15", ["12"], scoring=scoring)["f1"] == 0.67
            assert judged("1215", ["12-15"], scoring=scoring)["f1"] == 0

    def test_a_trailing_newline_loses_the_answer(self) -> None:
        assert judged("The answer is: 4\n", ["4"], scoring="lenient")["f1"] == 0
        assert judged("The answer is: 4\n", ["4"]) == {"em": 1, "f1": 1}

    def test_a_note_after_the_answer_is_taken_for_it(self) -> None:
        reply = "The answer is: 4.\n\nNote: hi"
        assert judged(reply, ["4"], scoring="lenient")["f1"] == 0 and judged(reply, ["hi"], scoring="lenient")["f1"] == 1
        assert judged(reply, ["4"])["em"] == 1 and judged(reply, ["hi"])["f1"] == 0

    @pytest.mark.parametrize("reply", ["", " \n", None, []])
    def test_an_empty_reply_is_wrong_and_no_error(self, reply: Any) -> None:
        assert judged(reply, ["4"]) == {"em": 0, "f1": 0}
        assert judged(reply, ["4"], scoring="lenient") == {"em": 0, "f1": 0, "contains": 0}

    def test_one_is_contained_in_twenty_one(self) -> None:
        assert judged("The answer is: 21", ["1"], scoring="lenient") == {"em": 0, "f1": 0, "contains": 1}
        assert judged("The answer is: 21", ["1"]) == {"em": 0, "f1": 0}

    def test_commas_and_a_final_per_cent_sign_go(self) -> None:
        assert judged("It fell. The answer is: 12345.", ["12,345"], scoring="lenient") == {"em": 1, "f1": 1, "contains": 1}
        assert judged("The answer is: 5%.", ["5%"], scoring="lenient") == {"em": 1, "f1": 1, "contains": 0}

    def test_only_what_follows_the_last_colon_counts(self) -> None:
        reply = "The answer is: 3. No, the total is: 4"
        assert judged(reply, ["4"], scoring="lenient")["f1"] == 1
        assert judged(reply, ["4"])["f1"] < 1
        assert judged("total:4", ["4"], scoring="lenient")["f1"] == 1

    def test_the_gold_anywhere_in_the_reasoning_does_not_count(self) -> None:
        assert judged("There are 3 kicks and 4 runs. The answer is: 7", ["3"])["f1"] == 0

    def test_commas_and_and_separate_no_spans(self) -> None:
        # The official rule takes a text as one span, and "May 3, 1791" or "Detyens, Inc." are one.
        assert judged("Brady, Manning", ["Brady", "Manning"]) == {"em": 0, "f1": 0.33}
        assert judged("3 May, 1791", ["3 May 1791"])["em"] == 1

    def test_many_guesses_do_not_pay(self) -> None:
        assert judged("1; 2; 3; 4", ["3"]) == {"em": 0, "f1": 0.25}
        assert judged("1\n2\n3\n4", ["3"]) == {"em": 0, "f1": 0.25}


@pytest.mark.parametrize(
    "lead_in", ["The answer is: ", "The answer is ", "So the final answer is:", "ANSWER: ", "Reasoning, 5 of 9.\nAnswer: "]
)
def test_lead_ins_are_stripped(lead_in: str) -> None:
    assert judged(lead_in + "28-yard", ["28-yard"]) == {"em": 1, "f1": 1}


def test_the_sample_is_read(sample: dict[str, Any], benchmark_data: Path) -> None:
    examples = load_task("drop", path=benchmark_data / "drop_sample.json").load("test")
    every = [(entry["passage"], pair) for entry in sample.values() for pair in entry["qa_pairs"]]
    # One question stands twice under a passage, and counts once.
    pairs = [one for at, one in enumerate(every) if (one[0], one[1]["question"]) not in [(p, pair["question"]) for p, pair in every[:at]]]
    assert len(pairs) == len(every) - 1
    assert [e.question for e in examples] == [pair["question"].strip() for _, pair in pairs]
    assert [e.context for e in examples] == [passage.strip() for passage, _ in pairs]
    assert examples[0].answer == "sixth terminal" and examples[0].answers == [["sixth terminal"]]
    assert examples[0].id == "db3c7682-0ae2-4705-a2be-4e6867352dc6"
    assert set(examples[0].inputs().keys()) == {"context", "question"}
    assert all(load_task("drop").metric(e, dspy.Prediction(answer=e.answer)) == 1 for e in examples)
    assert load_task("drop").decomposer_sees_context is None  # which shows it to all models that were not trained here


def test_all_alternates_stand_in_the_example(write: Callable[..., Path]) -> None:
    date = {"date": {"day": "3", "month": "May", "year": "1791"}, "number": "", "spans": []}
    path = write(question({"number": "", "spans": ["Ann", "Bob"]}, date, {"number": 7}, {"number": "", "date": {}, "spans": []}))
    (example,) = load_task("drop", path=path).load("test")
    assert example.answer == "Ann; Bob"
    assert example.answers == [["Ann", "Bob"], ["3 May 1791"], ["7"]]


def test_an_answer_with_nothing_in_it_is_unscored(write: Callable[..., Path]) -> None:
    empty = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}
    for answers in ([empty], [{"spans": [" "]}, empty], [{"date": {}}]):
        task = load_task("drop", path=write(question(*answers)))
        (example,) = task.load("test")
        score = task.score(example, dspy.Prediction(answer="x"))
        assert score.is_unscored and score.detail == "the reference answer is empty"
        assert task.metric(example, dspy.Prediction(answer="")) == 0


def hub_row(spans: list[str], types: list[str], **more: Any) -> dict[str, Any]:
    answers = {"spans": spans, "types": types}
    return {"section_id": "nfl_1", "query_id": "q1", "passage": "A game.", "question": "Who?", "answers_spans": answers, **more}


@pytest.mark.parametrize(
    ("spans", "types", "answers"),
    [
        (["4", "4", "four"], ["number", "number", "span"], [["4"], ["4"], ["four"]]),
        (["Ann", "Bob"], ["span", "span"], [["Ann", "Bob"]]),
        (["Ann", "Bob", "the Ann", "Bob"], ["span"] * 4, [["Ann", "Bob"], ["the Ann", "Bob"]]),
        (["3 May 1791", "1791"], ["date", "number"], [["3 May 1791"], ["1791"]]),
        ([], [], []),
    ],
)
def test_flat_rows_of_the_hub(write: Callable[..., Path], spans: list[str], types: list[str], answers: list[list[str]]) -> None:
    task = load_task("drop", path=write([hub_row(spans, types)], "rows.jsonl"))
    (example,) = task.load("test")
    assert (example.id, example.context, example.question, example.answers) == ("q1", "A game.", "Who?", answers)
    several = any(len(one) > 1 for one in answers)
    assert ("too low" in task.score(example, dspy.Prediction(answer="x")).detail) == several
    assert task.hub.name == "ucinlp/drop" and task.hub.splits == {"train": "train", "test": "validation"}


def test_flat_rows_with_validated_answers_in_columns(write: Callable[..., Path]) -> None:
    date = {"day": "", "month": "", "year": ""}
    columns = {"number": ["", "2"], "date": [date, date], "spans": [["Ann", "Bob"], []]}
    row = {
        "query_id": "q1",
        "passage": "P.",
        "question": "Q?",
        "answer": {"number": "1", "date": date, "spans": []},
        "validated_answers": columns,
    }
    (example,) = load_task("drop", path=write([row], "rows.jsonl")).load("test")
    assert example.answers == [["1"], ["Ann", "Bob"], ["2"]] and not example.spans_merged


def test_passages_never_stand_in_two_splits(write: Callable[..., Path]) -> None:
    path = write(passages(60), "drop_dataset_train.json")
    whole = {split: load_task("drop", path=path).load(split) for split in ("train", "dev")}
    divided = {split: load_task("drop", path=path, fractions="0.6,0.2,0.2", seed=1).load(split) for split in SPLITS}
    for splits in (whole, divided):
        assert sum(map(len, splits.values())) == 180 and not overlapping(splits)
        contexts = [{example.context for example in examples} for examples in splits.values()]
        assert sum(map(len, contexts)) == len(set.union(*contexts)) == 60
    other = load_task("drop", path=path, seed=1).load("dev")
    assert {e.context for e in other} != {e.context for e in whole["dev"]}


def test_the_development_file_is_the_test_set_as_in_the_paper(write: Callable[..., Path], tmp_path: Path) -> None:
    write(passages(30), "drop_dataset_train.json")
    write(question({"number": "5"}), "drop_dataset_dev.json")
    task = load_task("drop", path=tmp_path)
    assert [e.answer for e in task.load("test")] == ["5"]
    assert task.load("dev")[0].context.startswith("Passage")
    write(question({"number": "6"}), "drop_dataset_test.json")
    task = load_task("drop", path=tmp_path)
    assert [e.answer for e in task.load("test")] == ["6"] and [e.answer for e in task.load("dev")] == ["5"]


def test_a_query_id_that_comes_twice_gives_two_ids(write: Callable[..., Path]) -> None:
    content = passages(1)
    for pair in content["history_0"]["qa_pairs"]:
        pair["query_id"] = "q"
    task = load_task("drop", path=write(content))
    assert [e.id for e in task.load("test")] == ["q", "q-2", "q-3"] == [e.id for e in task.load("test")]


@pytest.mark.parametrize(
    ("change", "field", "found", "expected"),
    [
        ({"answer": None}, "'answer'", "null", "an object"),
        ({"answer": {}}, "'answer'", "{}", "number, date and spans"),
        ({"answer": {"number": ["4"]}}, "'answer.number'", '["4"]', "such as '4'"),
        ({"answer": {"number": True}}, "'answer.number'", "true", "such as '4'"),
        ({"answer": {"spans": "Ann"}}, "'answer.spans'", '"Ann"', "a list of texts"),
        ({"answer": {"spans": [1]}}, "'answer.spans'", "[1]", "a list of texts"),
        ({"answer": {"date": "1791"}}, "'answer.date'", '"1791"', "day, month and year"),
        ({"answer": {"date": {"day": []}}}, "'answer.date'", '{"day": []}', "day, month and year"),
        ({"validated_answers": [{"number": "1"}, {"spans": 1}]}, "'validated_answers.1.spans'", "1", "a list of texts"),
        ({"validated_answers": "x"}, "'validated_answers'", '"x"', "a list of objects"),
        ({"validated_answers": {"number": ["1"], "date": [], "spans": [[]]}}, "'validated_answers'", '{"number"', "equally long"),
        ({"question": 3}, "'question'", "3", "a text"),
        ({"question": " "}, "'question'", "an empty text", "a question"),
        ({"query_id": 3}, "'query_id'", "3", "a text"),
    ],
)
def test_a_bad_question_is_named(write: Callable[..., Path], change: dict[str, Any], field: str, found: str, expected: str) -> None:
    content = question({"number": "4"})
    content["nfl_1"]["qa_pairs"][0] |= change
    path = write(content)
    with pytest.raises(ValueError) as error:
        load_task("drop", path=path).load("test")
    row = f"{path}, row nfl_1/{change.get('query_id', 'q1')}, field {field}: found {found}"
    assert row in str(error.value) and expected in str(error.value).partition("expected")[2]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ({"nfl_1": {"passage": "P."}}, "a.json", "row nfl_1, field 'qa_pairs': found null; expected a list of questions"),
        ({"nfl_1": ["x"]}, "a.json", "row nfl_1, field 'qa_pairs': found null"),
        ({"nfl_1": {"qa_pairs": ["x"], "passage": "P."}}, "a.json", 'row nfl_1/1: found "x"; expected an object'),
        (
            {"nfl_1": {"qa_pairs": [{"query_id": "q", "question": "Q?", "answer": {"number": "1"}}]}},
            "a.json",
            "field 'passage': found null",
        ),
        ({}, "a.json", "is empty"),
        ("x", "a.json", "expected a list of objects"),
        ([hub_row(["Ann"], [])], "a.jsonl", "row 1, field 'answers_spans'"),
        ([hub_row(["Ann"], ["name"])], "a.jsonl", "expected a text and its type: number, date or span"),
        ([{"query_id": "q", "passage": "P.", "question": "Q?"}], "a.jsonl", "row 1, field 'answer': found no such field among"),
    ],
)
def test_a_bad_file_is_named(write: Callable[..., Path], content: Any, name: str, message: str) -> None:
    path = write(content, name)
    with pytest.raises(ValueError) as error:
        load_task("drop", path=path).load("test")
    assert str(path) in str(error.value) and message in str(error.value)
