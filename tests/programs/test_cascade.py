"""`Cascade`: which way a question goes and why, what the votes are, what it costs. LMs are scripted but for the last test."""

import asyncio

import dspy
import pytest
from scripted import scripted_lm

from programs import Cascade, SingleStage, TwoStage
from programs.cascade import DISAGREE, NO_ANSWER, UNREADABLE
from programs.lms import lm
from programs.lms.ledger import Ledger, recording

QUESTION = {"question": "Where was the queen's mother born?", "context": "Ann is the mother. Ann was born in Rome."}


class Fixed(dspy.Module):
    """Somebody else's program: no stage, no usage, and one reply after the other."""

    def __init__(self, *replies, output="answer"):
        super().__init__()
        self.predict = dspy.Predict(f"question, context -> {output}")
        left = iter(replies)
        self.predict.lm = scripted_lm(lambda prompt: f"[[ ## {output} ## ]]\n{next(left)}\n\n[[ ## completed ## ]]")

    def forward(self, question, context=""):
        return self.predict(question=question, context=context)


def dear(reply="Paris"):
    program = Fixed(*[reply] * 9)
    return program, program.predict.lm.script


def routes(answer, **inputs):
    """The answer by a plain call, and by an asynchronous one."""
    return [answer()(**inputs), asyncio.run(answer().acall(**inputs))]


def test_votes_that_agree_keep_the_cheap_answer():
    for found in routes(lambda: Cascade(Fixed("Rome", "rome.", "the Rome"), dear()[0]), **QUESTION):
        assert (found.answer, found.route, found.agreement, found.escalated) == ("Rome", "first", 1.0, None)
        # Side by side, either of the further votes may be the first to be asked for.
        assert found.votes[0] == "Rome" and sorted(found.votes) == ["Rome", "rome.", "the Rome"]
        assert found.usage["first_program"]["calls"] == 3
        assert "second_program" not in found.usage


def test_votes_that_disagree_ask_the_dear_program_and_bill_both():
    for found in routes(lambda: Cascade(Fixed("Rome", "Oslo", "Rome"), dear()[0]), **QUESTION):
        assert (found.answer, found.route, found.escalated) == ("Paris", "second", DISAGREE)
        assert found.agreement == pytest.approx(2 / 3)
        assert found.first_answer == "Rome"
        assert {stage: used["calls"] for stage, used in found.usage.items()} == {"first_program": 3, "second_program": 1}


def test_the_answer_with_most_votes_stands_where_the_threshold_allows():
    program = Cascade(Fixed("Oslo", "Rome", "Rome"), dear()[0], threshold=2 / 3)
    found = program(**QUESTION)
    assert (found.answer, found.route) == ("Rome", "first")


def test_an_unreadable_decomposition_goes_on_at_once():
    first = TwoStage()
    first.set_lm(scripted_lm(lambda prompt: "Nothing to see." if "Max subquestions" in prompt else "Rome\nAnswer: Rome"))
    found = Cascade(first, dear()[0])(**QUESTION)
    assert (found.escalated, found.answer, found.votes) == (UNREADABLE, "Paris", [None])
    assert {stage: used["calls"] for stage, used in found.usage.items()} == {"first_decompose": 1, "first_solve": 1, "second_program": 1}


@pytest.mark.parametrize("reply", ["Unknown", ""])
def test_no_answer_goes_on(reply):
    found = Cascade(Fixed(reply), dear()[0], samples=1)(**QUESTION)
    assert (found.escalated, found.answer) == (NO_ANSWER, "Paris")


def test_a_failed_cheap_program_goes_on_and_its_calls_are_counted(caplog):
    def fails(prompt):
        raise RuntimeError("the server is on fire")

    for run in (lambda c: c(**QUESTION), lambda c: asyncio.run(c.acall(**QUESTION))):
        first, (second, script) = SingleStage(), dear()
        first.set_lm(scripted_lm(fails))
        ledger = Ledger()
        with recording(ledger):
            found = run(Cascade(first, second))
        assert (found.escalated, found.answer) == (NO_ANSWER, "Paris")
        assert "the server is on fire" in found.errors[0]
        assert found.usage["first_answer"]["failed"] == 1
        assert ledger.by_stage()["first_answer"].failed == 1
        assert len(script.prompts) == 1
    assert "the server is on fire" in caplog.text


def test_a_vote_that_fails_speaks_for_nothing():
    left = iter(["Rome", RuntimeError("busy"), "Rome"])
    first = SingleStage()
    first.set_lm(scripted_lm(lambda prompt: next(left)))
    found = Cascade(first, dear()[0], threshold=0.6)(**QUESTION)
    assert (found.answer, found.votes) == ("Rome", ["Rome", None, "Rome"])
    assert found.agreement == pytest.approx(2 / 3)


def test_a_failed_dear_program_raises_and_all_calls_stay_counted():
    second = SingleStage()
    second.set_lm(scripted_lm(lambda prompt: RuntimeError("no credit")))
    ledger = Ledger()
    with recording(ledger), pytest.raises(Exception, match="no credit"):
        Cascade(Fixed("Rome", "Oslo", "Bern"), second)(**QUESTION)
    assert {stage: used.calls for stage, used in ledger.by_stage().items()} == {"first_program": 3, "second_answer": 1}


def test_what_must_stop_a_job_is_no_failure_of_the_cheap_program():
    class Stop(BaseException):
        pass

    class Stopping(dspy.Module):
        def forward(self, **inputs):
            raise Stop

    with pytest.raises(Stop):
        Cascade(Stopping(), dear()[0])(**QUESTION)


def test_votes_are_drawn_by_seeds_of_their_own_past_the_cache_and_the_program_stays_as_it_was():
    seen = []

    class Engine:
        def complete(self, request):
            seen.append((request.config.temperature, request.config.seed))
            return scripted_lm(lambda prompt: "[[ ## answer ## ]]\nRome\n\n[[ ## completed ## ]]").script.complete(request)

    first = dspy.Predict("question, context -> answer")
    first.lm = dspy.LM("local/scripted", engine=Engine(), cache=False, temperature=0.0, max_tokens=20)
    program = Cascade(first, dear()[0], seed=2)
    program(**QUESTION)
    program(**QUESTION)
    assert seen[:3] == seen[3:] == [(0.0, None), (0.7, 2001), (0.7, 2002)]
    assert first.lm.kwargs["temperature"] == 0.0
    assert program.first is first


def test_votes_of_an_lm_in_dspys_settings_and_a_temperature_of_the_predictor():
    seen = []

    class Engine:
        def complete(self, request):
            seen.append((request.config.temperature, request.config.seed))
            return scripted_lm(lambda prompt: "[[ ## answer ## ]]\nRome\n\n[[ ## completed ## ]]").script.complete(request)

    with dspy.context(lm=dspy.LM("openai/scripted", engine=Engine(), cache=False, seed=7)):
        Cascade(dspy.Predict("question -> answer", temperature=0.0), dear()[0])(question="?")
    assert seen == [(0.0, 7), (0.7, 8), (0.7, 9)]


def test_votes_at_a_models_own_temperature_need_one():
    first = SingleStage()
    script = scripted_lm(lambda prompt: "Rome").script
    first.set_lm(dspy.LM("openai/scripted", engine=script, temperature=0.0, cache=False))
    with pytest.raises(ValueError, match="one text 3 times"):
        Cascade(first, dear()[0], temperature=None)(**QUESTION)
    assert script.prompts == []


def test_other_outputs_are_compared_as_one_says():
    first = Fixed("3.1", "3.2", output="size")
    with pytest.raises(ValueError, match="answer_field"):
        Cascade(first, dear()[0])(**QUESTION)
    near = Cascade(Fixed("3.1", "3.2", output="size"), dear()[0], samples=2, agree=lambda a, b: abs(float(a.size) - float(b.size)) < 0.5)
    assert near(**QUESTION).route == "first"
    named = Cascade(Fixed("3.1", "3.2", output="size"), Fixed("3.15", output="size"), samples=2, answer_field="size")
    assert named(**QUESTION).size == "3.15"


def test_a_program_with_asynchronous_code_alone_and_one_without_any():
    class Later(dspy.Module):
        async def aforward(self, **inputs):
            return dspy.Prediction(answer="Rome")

    class Now(dspy.Module):
        def forward(self, **inputs):
            return dspy.Prediction(answer="Paris")

    for found in routes(lambda: Cascade(Later(), Now()), **QUESTION):
        assert found.route == "first"
    for found in routes(lambda: Cascade(Now(), Later()), **QUESTION):
        assert found.route == "first"


def test_asynchronous_programs_are_asked_where_a_loop_runs_as_in_a_notebook():
    class Later(dspy.Module):
        def __init__(self):
            super().__init__()
            self.program = SingleStage()
            self.program.set_lm(scripted_lm(lambda prompt: "Rome\nAnswer: Rome"))

        async def aforward(self, **inputs):
            return await self.program.acall(**inputs)

    async def cell():
        return Cascade(Later(), dear()[0])(**QUESTION)

    found = asyncio.run(cell())
    assert (found.route, found.errors, found.usage["first_answer"]["calls"]) == ("first", [], 3)


class Raising(dspy.Module):
    """Fails before or after its LM was asked."""

    def __init__(self, error, asks):
        super().__init__()
        self.error, self.asks = error, asks
        self.program = SingleStage()
        self.program.set_lm(scripted_lm(lambda prompt: "Rome\nAnswer: Rome"))

    def forward(self, **inputs):
        if self.asks:
            self.program(**inputs)
        raise self.error


@pytest.mark.parametrize(
    ("error", "asks"),
    [
        (TypeError("no such input"), False),
        (AttributeError("typo"), True),
        (ValueError("No LM is loaded"), False),
        (RuntimeError("loop"), False),
    ],
)
def test_a_mistake_in_the_cheap_program_is_raised_and_the_dear_one_is_not_paid(error, asks):
    for run in (lambda c: c(**QUESTION), lambda c: asyncio.run(c.acall(**QUESTION))):
        second, script = dear()
        with pytest.raises(type(error), match=str(error)):
            run(Cascade(Raising(error, asks), second))
        assert script.prompts == []


@pytest.mark.parametrize(("error", "asks"), [(ConnectionError("search is down"), False), (ValueError("no number in the reply"), True)])
def test_what_a_reply_or_a_server_brings_about_is_a_vote_without_an_answer(error, asks):
    found = Cascade(Raising(error, asks), dear()[0])(**QUESTION)
    assert (found.answer, found.escalated) == ("Paris", NO_ANSWER)
    assert str(error) in found.errors[0]


def drawn(program):
    """What was asked of the cheap LM: temperature, and rollout id."""
    asked = []

    class Noting(dspy.LM):
        def forward(self, *args, **kwargs):
            asked.append((self.kwargs["temperature"], self.kwargs.get("rollout_id")))
            return super().forward(*args, **kwargs)

        async def aforward(self, *args, **kwargs):
            asked.append((self.kwargs["temperature"], self.kwargs.get("rollout_id")))
            return await super().aforward(*args, **kwargs)

    script = scripted_lm(lambda prompt: "[[ ## answer ## ]]\nRome\n\n[[ ## completed ## ]]").script
    with dspy.context(lm=Noting("openai/scripted", engine=script, cache=False, temperature=0.0)):
        program(question="?")
    return asked


def test_votes_of_a_cascade_in_a_cascade_are_all_drawn_apart_and_the_same_each_time():
    def nested():
        return Cascade(Cascade(dspy.Predict("question -> answer"), dear()[0]), dear()[0])

    asked = drawn(nested())
    assert len(asked) == len(set(asked)) == 9
    assert drawn(nested()) == asked


def test_votes_of_a_cascade_in_the_dear_place_are_not_those_of_the_cheap_one():
    cheap, inner = dspy.Predict("question -> answer"), Cascade(dspy.Predict("question -> answer"), dear()[0])
    asked = drawn(Cascade(cheap, inner, agree=lambda one, other: one is other))
    assert len(asked) == 6 and len(set(asked)) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples"),
        ({"threshold": 60}, "60 % is 0.6"),
        ({"temperature": 0}, "above 0"),
        ({"samples": 2.5}, "whole number"),
        ({"samples": True}, "whole number"),
        ({"threshold": "0.6"}, "from 0 to 1"),
        ({"threshold": float("nan")}, "from 0 to 1"),
        ({"temperature": "hot"}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"seed": None}, "whole number"),
        ({"seed": "x"}, "whole number"),
        ({"answer_field": ["label"]}, "one output"),
        ({"answer_field": ""}, "one output"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Cascade(SingleStage(), SingleStage(), **options)


def test_an_agree_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="function of two predictions"):
        Cascade(SingleStage(), SingleStage(), agree="exact")


def near(one, other):
    return abs(float(one.answer) - float(other.answer)) < 1


def test_what_compares_votes_is_in_no_file_and_loading_says_so(tmp_path):
    Cascade(SingleStage(), SingleStage(), agree=near).save(tmp_path / "cascade.json")
    with pytest.raises(ValueError, match=r"saved with agree=near.*agree=\.\.\."):
        Cascade(SingleStage(), SingleStage()).load(tmp_path / "cascade.json")
    loaded = Cascade(SingleStage(), SingleStage(), agree=near, samples=5)
    loaded.load(tmp_path / "cascade.json")
    assert loaded.samples == 3


def test_states_of_other_programs_and_with_wrong_values_are_refused():
    program = Cascade(SingleStage(), SingleStage())
    with pytest.raises(ValueError, match="state of no cascade"):
        program.load_state(SingleStage().dump_state())
    state = program.dump_state()
    with pytest.raises(ValueError, match=r"60 % is 0\.6"):
        program.load_state({**state, "cascade": {**state["cascade"], "threshold": 60}})
    assert program.threshold == 1.0


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="second"):
        Cascade(SingleStage(), "question -> answer")


def test_saved_and_loaded_with_formats_demos_and_options(tmp_path):
    demo = dspy.Example(question="q", context="c", answer="a").with_inputs("question", "context")
    first = SingleStage(adapters={"answer": "line"})
    first.answer.demos = [demo]
    Cascade(first, TwoStage(max_subquestions=2), samples=5, threshold=0.8, seed=3).save(tmp_path / "cascade.json")
    loaded = Cascade(SingleStage(), TwoStage())
    loaded.load(tmp_path / "cascade.json")
    assert (loaded.samples, loaded.threshold, loaded.seed, loaded.second.max_subquestions) == (5, 0.8, 3, 2)
    assert list(loaded.first.fixed_adapters) == ["answer"]
    assert [dict(one) for one in loaded.first.answer.demos] == [dict(demo)]


@pytest.mark.slow
def test_embedded_models_vote_alike_every_time_and_the_teacher_answers_where_they_do_not():
    """The untrained base answers in one stage, the embedded teacher in two."""
    cheap = SingleStage()
    cheap.set_lm(lm("embedded/base", max_tokens=8))
    two = TwoStage()
    two.set_lm(lm("embedded/teacher", max_tokens=64))
    context = "Emma is the mother of Hugo. Otto is the father of Hugo. Emma was born in 1950. Otto was born in 1947."
    program = Cascade(cheap, two)
    found = [program(question="When was the mother of Hugo born?", context=context) for _ in range(2)]
    assert found[0].votes == found[1].votes
    assert found[0].route == "second"
    assert found[0].answer == two(question="When was the mother of Hugo born?", context=context).answer
    assert set(found[0].usage) >= {"first_answer", "second_decompose", "second_solve"}
