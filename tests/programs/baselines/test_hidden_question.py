"""The solver that is told the subquestions alone."""

import asyncio

from scripted import scripted_lm

from programs import TwoStage
from programs.baselines.hidden_question import with_hidden_question


def program(decomposition):
    made = TwoStage(decomposer_sees_context=False)
    made.set_lm(scripted_lm(lambda prompt: decomposition if "Max subquestions" in prompt else "Ann\nRome\nAnswer: Rome"))
    return made


def test_the_last_subquestion_takes_the_place_of_the_question():
    plain = program("Who is it?\nWhere is #1?")
    hidden = with_hidden_question(plain)
    found = hidden(question="Where is the boss of Eva?", context="A passage.")
    assert (found.answer, found.subquestions) == ("Rome", ["Who is it?", "Where is #1?"])
    decompose, solve = plain.solve.lm.script.prompts
    assert "the boss of Eva" in decompose
    assert "the boss of Eva" not in solve and "Question: Where is #1?" in solve and "A passage." in solve
    assert hidden.adapter_name_of("solve") == plain.adapter_name_of("solve")
    assert asyncio.run(hidden.acall(question="Where is the boss of Eva?", context="A passage.")).answer == "Rome"
    assert plain.solve.lm.script.prompts[2:] == [decompose, solve]
    plain(question="Where is the boss of Eva?", context="A passage.")
    assert "the boss of Eva" in plain.solve.lm.script.prompts[-1]


def test_without_subquestions_the_question_is_asked():
    plain = program("No decomposition")
    assert with_hidden_question(plain)(question="Where is Eva?", context="c").state == "none_needed"
    assert "Question: Where is Eva?" in plain.solve.lm.script.prompts[-1]
