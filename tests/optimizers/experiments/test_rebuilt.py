"""A run's own products, loaded again: the program of a condition, and its state on file."""

import pytest

from optimizers import Run
from programs import TwoStage
from programs.modules import SingleStage


@pytest.fixture(autouse=True)
def no_network(here):
    """In a folder of each kind of job; see `here`."""


@pytest.mark.parametrize("student", ["S_D-R", "S_D-T", "student0"])
def test_a_student_decomposes_as_it_did_in_the_run(student):
    run = Run("run")
    program, asked = run.program(f"{student}+teacher"), run.predictions(f"{student}+teacher")
    for row in asked.itertuples():
        found, _ = program.run_decompose(row.question, row.context)
        assert (found.state, found.subquestions) == (row.state, list(row.subquestions))


def test_the_distilled_decomposer_is_the_usual_one():
    run = Run("run")
    program = run.program()
    assert program.decompose.lm.model.startswith("local/S_D-R@")
    assert (program.max_subquestions, program.decomposer_sees_context) == (3, False)
    assert program.adapter_name_of("solve") == run.program("teacher+teacher").adapter_name_of("solve")
    assert isinstance(run.program("single-stage"), SingleStage)


def test_what_cannot_be_built_is_told():
    with pytest.raises(ValueError, match=r"run has no condition 'S_D'; it has \['single-stage', 'teacher\+teacher'"):
        Run("run").program("S_D")
    with pytest.raises(ValueError, match="run is a run, which has one train; leave out train, variant"):
        Run("run").program(train="people", variant="main")


def test_a_cell_of_an_experiment_answers_as_it_did():
    run = Run("experiment")
    asked = run.predictions()
    assert set(asked["variant"].dropna()) == {"rows=6"}
    for (condition, test), rows in asked[asked["condition"].str.startswith("S_D-R")].groupby(["condition", "test"]):
        for variant in ("main", "rows=6"):
            program = run.program(condition, test=test, variant=variant)
            found = rows[rows["variant"].fillna("main") == variant]
            assert program.decompose.lm.model.startswith("local/S_D-R@") and len(found) == 4
            for row in found.itertuples():
                decomposed, _ = program.run_decompose(row.question, row.context)
                assert (decomposed.state, decomposed.subquestions) == (row.state, list(row.subquestions))
    own, fewer = run.program(), run.program(variant="rows=6")
    assert own.decompose.lm.model != fewer.decompose.lm.model and own.max_subquestions == fewer.max_subquestions


def test_a_cell_that_is_not_there_is_told_with_those_that_are():
    run = Run("experiment")
    with pytest.raises(ValueError, match=r"experiment has no condition 'S_D'; it has \['"):
        run.program("S_D")
    with pytest.raises(ValueError, match=r"no variant 'rows=7' with condition 'S_D-R\+teacher'; it has \['main', 'rows=6'\]"):
        run.program("S_D-R+teacher", variant="rows=7")
    with pytest.raises(ValueError, match="no test 'drop'"):
        run.program(test="drop")


def test_a_state_on_file_has_the_limits_and_the_models(tmp_path):
    program = Run("run").program()
    program.save(tmp_path / "program.json")
    loaded = TwoStage()
    loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert vars(loaded)["max_subquestions"] == program.max_subquestions == 3 and not loaded.decomposer_sees_context
    assert loaded.decompose.lm.model == program.decompose.lm.model
    question = Run("run").predictions("S_D-R+teacher").iloc[0]
    assert loaded.run_decompose(question.question)[0] == program.run_decompose(question.question)[0]


@pytest.mark.parametrize("options", [{"max_subquestions": None}, {"max_subquestions": 7, "decomposer_sees_context": True}, {}])
def test_options_survive_dump_and_load(options):
    program = TwoStage()
    program.load_state(TwoStage(**options).dump_state())
    assert {name: vars(program)[name] for name in ("max_subquestions", "decomposer_sees_context")} == {
        "max_subquestions": "trained",
        "decomposer_sees_context": None,
        **options,
    }


def test_a_state_from_before_keeps_the_programs_own_options():
    state = {name: value for name, value in TwoStage().dump_state().items() if name != "options"}
    program = TwoStage(max_subquestions=2)
    program.load_state(state)
    assert program.max_subquestions == 2
