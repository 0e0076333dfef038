"""What jobs write is JSON for every reader: NaN and the infinities, which JSON has no word for, are null on file."""

import json
import math

import pytest

from optimizers.evaluation.statistics import holm, paired_comparison, retention
from optimizers.evaluation.summary import summarise
from optimizers.experiments.results import Run
from optimizers.jobs.jsonlines import Lines, line_of, read_json, write_json
from optimizers.labelling.values import Types, decoded, encoded
from optimizers.reports.run_report import write_report
from optimizers.studies.trial import _LossWatch, _Told

BEYOND = {"score": math.nan, "ci95": (-math.inf, [math.inf]), "n": 1, "text": "größer"}
ON_FILE = {"score": None, "ci95": [None, [None]], "n": 1, "text": "größer"}


def strictly(text):
    """Read as JavaScript and jq do."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def appended(path):
    lines = Lines(path, lambda record, offset: None)
    lines.append(BEYOND)
    lines.close()


WRITERS = {
    "a file": lambda path: write_json(path, BEYOND),
    "a line": lambda path: path.write_text(line_of(BEYOND)),
    "a line of several threads": appended,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_number_that_json_has_not_is_null(tmp_path, write):
    write(tmp_path / "file.json")
    assert strictly((tmp_path / "file.json").read_text()) == ON_FILE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_a_program_gave_is_read_back_as_the_number_that_it_was(value):
    on_file = json.dumps(encoded({"answer": [value]}, Types()), allow_nan=False)
    assert repr(decoded(json.loads(on_file), Types())) == repr({"answer": [value]})


def test_a_run_without_a_score_is_reported_and_shown_as_not_scored(tmp_path):
    line = {"id": "q", "score": None, "error": None, "detail": "", "state": "ok", "usage": {}, "measures": {"f1": 0.0}}
    compared = paired_comparison({"q": None}, {"q": None}).to_dict()
    kept = retention({}, {})
    conditions = {name: summarise([line]) for name in ("teacher+teacher", "S_D-T+teacher")}
    pair = {"a": "S_D-T+teacher", "b": "teacher+teacher"}
    metrics = {
        "schema": 1,
        "task": "gsm8k",
        "conditions": conditions,
        "comparisons": [{**pair, **compared, "p_holm": holm([compared["p"]])[0]}],
        "retention": [{**pair, "ratio": kept.estimate, "ci95": [kept.low, kept.high]}],
        "students": {"S_D-T": {"rows": 1, "last_train_loss": math.nan, "mean_train_loss": math.nan}},
    }
    (tmp_path / "config.toml").write_text("seed = 0\n")
    write_json(tmp_path / "metrics.json", metrics)
    found = strictly((tmp_path / "metrics.json").read_text())
    assert found == read_json(tmp_path / "metrics.json") and found["conditions"]["teacher+teacher"]["score"] is None

    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "has no score in this run" in text and "No condition has a score to draw" in text
    assert not {"nan", "None"} & set(text.replace("|", " ").split())
    assert [row["score"] for row in Run(tmp_path).table()] == [None, None] and "n/a" in repr(Run(tmp_path))


def test_a_loss_that_is_none_reaches_the_pruner_as_nan(tmp_path):
    class Watch:
        def report(self, step, value):
            reported.append(value)

    reported = []
    lines = [{"step": step, "steps": 2, "seconds": 1.0, "eval_loss": loss} for step, loss in ((1, 0.5), (2, math.nan))]
    (tmp_path / "progress.jsonl").write_text("".join(map(line_of, lines)))
    assert _LossWatch(tmp_path, 2, _Told(Watch())).look(tmp_path)
    assert reported[0] == -0.5 and math.isnan(reported[1])
