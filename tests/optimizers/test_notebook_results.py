"""What results give in a notebook: frames with fixed columns and dtypes, HTML that is safe, figures at the size of a screen."""

import json
import re
import shutil

import pytest
from nbclient import NotebookClient

from optimizers import Improvement, Run, StudyResult
from optimizers.distilled import Distilled
from optimizers.jobs.jsonlines import read_json, write_json
from optimizers.reports.frames import COMPARISON, PREDICTION, SCORE, SCREENING, TRAINING, frame
from optimizers.reports.notebook import ROWS, FigureFile
from optimizers.screening.policy import Decision

EVIL = "<script>alert(1)</script>&\"'"


def columns(found):
    return {name: str(dtype) for name, dtype in found.dtypes.items()}


def test_the_frames_of_a_run(here):
    run = Run("run")
    conditions, metrics = run.conditions(), run.metrics
    assert columns(conditions) == {"condition": "string", **SCORE}
    assert list(conditions["condition"]) == list(metrics["conditions"])
    first = metrics["conditions"]["teacher+teacher"]
    row = conditions.set_index("condition").loc["teacher+teacher"]
    assert [row["low"], row["high"]] == first["ci95"] and row["n"] == first["n"]
    assert row["input_tokens"] == first["decompose"]["input_tokens"] + first["solve"]["input_tokens"]
    comparisons = run.comparisons()
    assert columns(comparisons) == COMPARISON
    assert comparisons.iloc[0].to_dict()["delta"] == metrics["comparisons"][0]["delta"]
    predictions = run.predictions()
    assert columns(predictions) == {"condition": "string", **PREDICTION}
    assert predictions.groupby("condition")["score"].mean().to_dict() == {n: c["score"] for n, c in metrics["conditions"].items()}
    assert set(run.predictions("single-stage")["condition"]) == {"single-stage"}
    assert columns(run.training()) == {"student": "string", **TRAINING} and len(run.training("S_D-R")) > 100
    assert run.rows()["kept"].sum() == len(run.rows()) - run.rows()["reason"].notna().sum() > 0


def test_the_frames_of_an_experiment_say_which_cell(here):
    run = Run("experiment")
    assert list(run.conditions())[:7] == ["test", "train", "student", "ablation", "data_seed", "seed", "condition"]
    assert list(run.conditions()["score"]) == [cell["score"] for cell in run.metrics["cells"]]
    assert list(run.comparisons())[:6] == list(run.conditions())[:6]
    predictions = run.predictions()
    assert list(predictions)[:4] == ["test", "train", "variant", "condition"]
    assert set(predictions["variant"].dropna()) == {"rows=6"} and len(predictions) == 4 * len(run.conditions())
    assert set(run.rows()["variant"]) == set(run.training()["variant"]) == {"main", "rows=6"}


def test_the_frames_of_faults_and_of_policies(here):
    found = [{"train": None, "test": "people", "condition": "S_D-T+teacher", "wrong": 3, "decomposition": 2, "solver": 0, "neither": 1}]
    share = {"estimate": 0.75, "ci95": [0.5, 0.9], "n": 12}
    cost = {"calls": 4, "cache_hits": 2, "input_tokens": 30, "output_tokens": 5, "seconds": 1.5, "usd": None}
    measured = [{"policy": "agreement", "samples": 20, "kept": 12, "dropped": {}, "precision": share, "recall": {}, "cost": cost}]
    replaced(here / "experiment", "metrics.json", lambda metrics: metrics.update(errors=found, screening=[{"train": "p", **measured[0]}]))
    replaced(here / "run", "metrics.json", lambda metrics: metrics.update(screening=measured))
    faults = Run("experiment").faults()
    assert faults.iloc[0][["test", "condition", "wrong", "decomposition"]].tolist() == ["people", "S_D-T+teacher", 3, 2]
    assert faults["either"].isna().all() and columns(faults)["wrong"] == "Int64" and Run("run").faults().empty
    policies = Run("run").screening()
    assert columns(policies) == {"policy": "string", **SCREENING}
    row = policies.iloc[0]
    assert (
        row[["precision", "precision_low", "precision_high"]].tolist() == [0.75, 0.5, 0.9] and row["calls"] == 4 and row["seconds"] == 1.5
    )
    assert policies[["recall", "recall_low", "usd"]].isna().all(axis=None)
    assert list(Run("experiment").screening())[:3] == ["train", "variant", "policy"]


def test_the_frames_of_a_study_and_of_rounds(here):
    study = StudyResult("study")
    trials = study.trials_frame()
    assert list(trials["score"]) == [trial["score"] for trial in study.trials]
    assert trials["training.learning_rate"].nunique() == 2 and columns(trials)["low"] == "float64"
    assert columns(study.comparisons()) == COMPARISON and len(study.comparisons()) == 1
    assert columns(study.predictions()) == {"trial": "Int64", **PREDICTION}
    assert set(study.training()["trial"]) == {0, 1} and len(study.training(1)) < len(study.training())
    improved = Improvement("improve")
    assert list(improved.rounds()["score"]) == [one["dev"] for one in improved.table()]
    assert list(improved.comparisons()["test"]) == ["test"] and columns(improved.predictions("dev")) == {"round": "Int64", **PREDICTION}
    assert improved.rows().empty and list(improved.rows()) == ["round", "id", "sample", "reward", "messages"]


def test_a_folder_of_which_nothing_was_reported_yet(tmp_path):
    (tmp_path / "config.toml").write_text("")
    run = Run(tmp_path)
    frames = [run.conditions(), run.comparisons(), run.predictions(), run.rows(), run.training(), run.faults(), run.screening()]
    assert all(found.empty for found in frames) and columns(frames[0]) == {"condition": "string", **SCORE}
    assert "No condition has been evaluated" in run._repr_html_() and run.figures() == {}


def test_wrong_names_are_told_the_right_ones(here):
    with pytest.raises(ValueError, match=r"no answers of 'teacher'; it has \['S_D-R\+teacher'"):
        Run("run").predictions("teacher")
    with pytest.raises(ValueError, match=r"no training of 'S_D'; it has \['S_D-R', 'S_D-T'\]"):
        Run("run").training("S_D")
    with pytest.raises(ValueError, match=r"no trial 7; it has \[0, 1\]"):
        StudyResult("study").predictions(7)
    with pytest.raises(ValueError, match="no answers to 'train' questions"):
        Improvement("improve").predictions("train")


def test_values_of_another_kind_are_missing_and_not_an_error():
    found = frame(
        [{"n": "many", "score": float("nan"), "a": 3}, {"n": 2, "score": True}], {"n": "Int64", "score": "float64", "a": "string"}
    )
    assert found["n"].isna().tolist() == [True, False] and found["score"].isna().all() and found["a"].iloc[0] == "3"


def replaced(folder, name, change):
    found = read_json(folder / name)
    change(found)
    write_json(folder / name, found)


def test_no_text_of_data_is_read_as_html(here):
    run = read_json(here / "run" / "metrics.json")["conditions"]["single-stage"]
    replaced(here / "run", "metrics.json", lambda found: found["conditions"].update({EVIL: run}))
    replaced(here / "study", "study.json", lambda found: found.update(name=EVIL, incomplete=EVIL))
    replaced(here / "improve", "improve.json", lambda found: found.update(student=EVIL, solver=EVIL))
    shutil.move(here / "run", here / "<img src=x>")
    decisions = [Decision("1", 0, EVIL)]
    distilled = Distilled(rows={EVIL: []}, decisions=decisions, unscored=EVIL)
    pages = [Run("<img src=x>"), StudyResult("study"), Improvement("improve"), distilled]
    for page in [one._repr_html_() for one in pages]:
        assert "<script" not in page and "<img src=x>" not in page and "&lt;script&gt;alert(1)" in page
    assert list(distilled.decisions_frame()["reason"]) == [EVIL]


def test_a_damaged_file_is_told_in_the_cell(here):
    (here / "run" / "metrics.json").write_text("{")
    assert "metrics.json is no valid JSON" in Run("run")._repr_html_()


def test_a_long_table_is_cut_and_says_what_has_the_rest(here):
    run = read_json(here / "run" / "metrics.json")["conditions"]["single-stage"]
    replaced(here / "run", "metrics.json", lambda found: found["conditions"].update({f"c{i}": run for i in range(100)}))
    page = Run("run")._repr_html_()
    assert page.count("<tr>") == ROWS + 1 and f"and {105 - ROWS} more: .conditions() has them all" in page


def test_figures_have_the_size_of_a_screen_and_are_still_paths(here):
    figure = Run("run").figures()["accuracy"]
    shown, metadata = figure._repr_mimebundle_()
    assert isinstance(figure, FigureFile) and figure.read_bytes()[1:4] == b"PNG" and figure.name == "accuracy.png"
    assert metadata["image/png"]["width"] == 640 and "width: 640px; max-width: 100%" in shown["text/html"]
    assert StudyResult("study").figures()["study"].exists() and Improvement("improve").figures()


CELLS = (
    "from optimizers import Improvement, Run, StudyResult\nrun = Run('run')\nrun",
    "run.figures()['accuracy']",
    "StudyResult('study')",
    "Improvement('improve')",
    "run.conditions()",
    "from optimizers.reports.plans import PlanView\nPlanView('All.', ('calls',), [('label: <b>', 'm', ['7'])])",
    "from optimizers import load_config, plan\nplan(load_config('embedded'))",
)


def test_a_real_kernel_shows_them_without_a_warning(here):
    import nbformat

    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(here)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    assert [[output.output_type for output in cell] for cell in outputs[:5]] == [["execute_result"]] * 5
    pages = [cell[0]["data"]["text/html"] for cell in outputs]
    words = ("S_D-R+teacher", "<img", "training.learning_rate", "round 0", "input_tokens", "label: &lt;b&gt;", "In all at most")
    for page, word in zip(pages, words, strict=True):
        assert word in page
    assert "image/png" in outputs[1][0]["data"]
    assert not re.search("stderr|Warning", json.dumps(outputs))


def test_a_distillation_is_named_in_a_line():
    """Not with every row, and no folder of whoever ran it."""
    from optimizers.distilled import Distilled

    assert repr(Distilled(rows={"decompose": [{"id": "1"}]})) == "Distilled(models={}, rows={'decompose': 1}, kept 0 of 0 samples)"
