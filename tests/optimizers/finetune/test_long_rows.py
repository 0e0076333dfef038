"""Rows that are too long to be trained on are the hardest ones: that they are missing is told."""

from optimizers.finetune.spec import TrainingSpec
from optimizers.finetune.train import train
from optimizers.reports.blocks import Text
from optimizers.reports.training import too_long_warnings


def test_rows_that_are_too_long_are_counted_in_the_artifact(tiny, home, tmp_path):
    rows = [{"messages": [{"role": "user", "content": "Q " * n}, {"role": "assistant", "content": "A"}]} for n in (1, 2, 3, 400, 500)]
    spec = TrainingSpec(base=str(tiny.folder), max_steps=1, threads=1, device="cpu", warmup_steps=0, max_length=128)
    metrics = train(rows, spec, tmp_path / "student", name="s", adapter="line", base="tiny").manifest["metrics"]
    assert (metrics["rows"], metrics["too_long"]) == (3, 2)


def test_they_are_told_by_student():
    (warning,) = too_long_warnings([("S_D-R", {"rows": 7, "too_long": 0}), ("S_E-T", {"rows": 260, "too_long": 35}), ("old", {"rows": 3})])
    assert isinstance(warning, Text) and warning.tone == "warning"
    assert "(S_E-T: 35 of 295)" in warning.text and "training.max_length" in warning.text
    assert too_long_warnings([("S_D-R", {"rows": 7, "too_long": 0})]) == []
