"""The embedded task: its questions can be answered from the passage, and from nothing else."""

import dspy
import pytest

from programs.tasks import load_task, overlapping
from programs.tasks.multihop import SCHEMAS


@pytest.mark.parametrize("schema", sorted(SCHEMAS))
def test_following_the_subquestions_through_the_passage_gives_the_answer(schema):
    for example in load_task("multihop", schema=schema, hops="1,2,3,4").load("test", 80):
        assert len(example.subquestions) == (example.hops if example.hops > 1 else 0)
        assert all(fact in example.context for fact in example.reasoning.split(". ")[:1])
        assert example.sub_answers[-1:] in ([], [example.answer])
        for number, (subquestion, entity) in enumerate(zip(example.subquestions, example.chain, strict=False)):
            assert (entity if number == 0 else f"#{number}") in subquestion


def test_every_question_has_a_twin_chain_so_that_type_does_not_tell_the_answer():
    for example in load_task("multihop", schema="books,people", hops="2,3").load("dev", 40):
        sentences = example.context.split(". ")
        assert len(sentences) >= 2 * example.hops + 1


@pytest.mark.parametrize("branches", [1, 2])
def test_branches_lead_elsewhere_and_leave_the_question_as_it_was(branches):
    plain, branched = (load_task("multihop", schema="people,books", hops="2,3", branches=count).load("dev", 40) for count in (0, branches))
    for before, after in zip(plain, branched, strict=True):
        assert (before.question, before.chain, before.id) == (after.question, after.chain, after.id)
        sentences = after.context.removesuffix(".").split(". ")
        further = set(sentences) - set(before.reasoning.removesuffix(".").split(". "))
        relations = [next(r for r in SCHEMAS[after.schema] if r.question.split("{}")[0] in asked) for asked in after.subquestions]
        for entity, relation in zip(after.chain, relations, strict=False):
            about = [sentence for sentence in further if entity in sentence]
            # A city has one relation only, so that nothing else can be said of it.
            others = sum(r.subject == relation.subject for r in SCHEMAS[after.schema]) - 1
            assert len(about) == min(branches, others)
            assert not [other for sentence in about for other in after.chain if other != entity and other in sentence]
        assert not [sentence for sentence in further if after.answer in sentence]
        assert len(set(sentences)) == len(sentences)


def test_splits_share_no_entity_chain():
    task = load_task("multihop", schema="people,books", hops="1,2,3,4")
    splits = {split: task.load(split, 1500) for split in ("train", "dev", "test", "teacher")}
    assert overlapping(splits) == []


def test_splits_of_different_seeds_share_none_either():
    train = load_task("multihop", seed=1).load("train", 800)
    test = load_task("multihop", seed=2).load("test", 800)
    assert overlapping({"train": train, "test": test}) == []


def test_an_overlap_is_found():
    examples = load_task("multihop").load("train", 5)
    assert overlapping({"train": examples, "test": examples[3:4]}) == [("train", "test", examples[3].question)]


def test_a_seed_decides_the_questions_and_a_limit_only_cuts():
    first = [e.question for e in load_task("multihop", seed=3).load("train", 30)]
    assert first == [e.question for e in load_task("multihop", seed=3).load("train", 60)][:30]
    assert first != [e.question for e in load_task("multihop", seed=4).load("train", 30)]


def test_options_arrive_from_text_too():
    assert load_task("multihop", max_subquestions="2").max_subquestions == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": "cars"}, "Unknown schema 'cars'.*books.*people"),
        ({"hops": "5"}, "1 to 4"),
        ({"hops": "two"}, "1 to 4"),
        ({"branches": "3"}, "branches='3' of task 'multihop' must be 0, 1 or 2"),
        ({"depth": 1}, "no option 'depth'; it has"),
        ({"max_subquestions": "many"}, "max_subquestions='many'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        load_task("multihop", **options)


def test_unknown_task_and_split_are_named():
    with pytest.raises(ValueError, match="Unknown task 'gsm9k'; expected one of"):
        load_task("gsm9k")
    with pytest.raises(ValueError, match="Unknown split 'tests'"):
        load_task("multihop").load("tests")


def test_scoring_ignores_case_articles_and_punctuation():
    task = load_task("multihop")
    example = task.load("test", 1)[0]
    assert task.score(example, example.copy(answer=f" the {example.answer.upper()}. ")).value == 1.0
    assert task.score(example, example.copy(answer="somewhere else")).value == 0.0
    assert task.score(example.copy(answer=""), example).is_unscored


def test_an_llm_that_answers_in_a_sentence_is_right():
    """As one does that was not trained on this task; another name in it is wrong, and so is the last step but one."""
    task = load_task("multihop")
    one = dspy.Example(question="Where was the mother of Julia Reed born?", answer="Rome")
    answers = {
        "Rome": 1, "The mother of Julia Reed was born in Rome.": 1, "Her mother is Ann Hill. The mother of Julia Reed was born in Rome.": 1,
        "The mother of Julia Reed was born in Oslo.": 0, "The mother of Julia Reed is Rome Hill.": 0, "Julia Reed was born in Rome.": 0,
    }  # fmt: skip
    assert {answer: task.score(one, dspy.Prediction(answer=answer)).value for answer in answers} == answers
