"""The rows that the strict solver is trained on, and whether the one that comes with the package does what they say."""

import random
from types import SimpleNamespace

import pytest

from optimizers.embedded import strict_solver as strict
from programs.tasks.multihop import SCHEMAS
from programs.tasks.registry import load_task

PASSAGE = (
    "The mother of Julia Reed is Nora Fox. The boss of Julia Reed is Max Hill. Nora Fox was born in Oakford. Max Hill was born in Elmport. "
    "Nora Fox lives in Pinebury. The mayor of Oakford is Emma Cole."
)


def example(context=PASSAGE):
    return SimpleNamespace(
        context=context,
        question="Who is the mayor of the birthplace of the mother of Julia Reed?",
        schema="people",
        hops=3,
        chain=["Julia Reed", "Nora Fox", "Oakford", "Emma Cole"],
        subquestions=["Who is the mother of Julia Reed?", "Where was #1 born?", "Who is the mayor of #2?"],
    )


def test_every_subquestion_is_answered_by_a_single_fact_or_not_at_all():
    facts = strict.known(PASSAGE, SCHEMAS["people"])
    assert len(facts) == 6 and facts["Where was Nora Fox born?"] == "Oakford"
    assert strict.answers(example().subquestions, facts) == ["Nora Fox", "Oakford", "Emma Cole"]
    asked = ["Who is the boss of Julia Reed?", "Where does #1 live?", "Who is the mayor of #2?", "Where was #1 born?", "Who runs #9?"]
    assert strict.answers(asked, facts) == ["Max Hill", "unknown", "unknown", "Elmport", "unknown"]


@pytest.mark.parametrize("kind", sorted(strict.KINDS))
def test_only_the_right_subquestions_lead_to_the_answer(kind):
    facts = strict.known(PASSAGE, SCHEMAS["people"])
    made = {tuple(strict.KINDS[kind](example(), random.Random(seed))) for seed in range(40)}
    led = {(["unknown", *strict.answers(subquestions, facts)])[-1] for subquestions in made}
    assert ("Emma Cole" in led) == (kind in ("right", "elsewhere"))  # a town has no other relation to be led away by
    expected = {
        "right": {tuple(example().subquestions)},
        "early": {tuple(example().subquestions[:1]), tuple(example().subquestions[:2])},
        "missing": {
            ("Where was Julia Reed born?", "Who is the mayor of #1?"),
            ("Who is the mother of Julia Reed?", "Who is the mayor of #1?"),
            ("Who is the mother of Julia Reed?", "Where was #1 born?"),
        },
        "joined": {
            ("Where was the mother of Julia Reed born?", "Who is the mayor of #1?"),
            ("Who is the mother of Julia Reed?", "Who is the mayor of the birthplace of #1?"),
        },
        "none": {()},
    }
    assert made == expected.get(kind, made)


def test_rows_are_of_the_teachers_own_split_and_say_what_the_subquestions_lead_to():
    rows = strict.rows(40)
    told = {e.context for e in load_task("multihop", schema="people,books", hops="2,3,4,3,2,3", branches=1).load("teacher", 40)}
    ends = set()
    for row in rows:
        asked, reply = row["messages"][-2]["content"], row["messages"][-1]["content"]
        assert any(f"Context: {context}\n" in asked for context in told)
        ends.add(reply.splitlines()[-1].strip())
    assert "Answer: unknown" in ends and len(ends) > 10


@pytest.mark.slow
def test_the_strict_solver_follows_its_subquestions():
    found = {cell["subquestions"]: cell for cell in strict.measure(count=12) if cell["schema"] == "people"}
    assert found["right"]["right"][0] >= 0.5
    assert max(found[kind]["right"][0] for kind in ("early", "missing", "joined", "nothing", "none")) <= 0.25
    assert found["nothing"]["followed"][0] >= 0.7
