"""Distillation on a tiny random model with a scripted teacher: what is trained, what is left alone, what is refused."""

import json
import subprocess
import sys
import time

import dspy
import pytest
from dspy.clients.utils_finetune import TrainDataFormat
from filelock import FileLock
from scripted import scripted_lm, two_stage_rule

from optimizers import BootstrapDistill, TrainingSpec, TRLProvider
from optimizers.distilled import TooFewRowsError
from optimizers.finetune.job_folder import read_progress
from optimizers.finetune.train import TrainingError, train
from programs import TerseLineAdapter, TwoStage
from programs.lms.artifacts import open_artifact
from programs.lms.catalog import lm
from programs.lms.chat import prompt_ids, training_ids
from programs.lms.model_strings import resolve
from programs.signatures import Decompose

QUICK = TrainingSpec(epochs=1, batch_size=4, learning_rate=1e-3, save_steps=2, max_length=200)


def examples(count):
    made = [
        dspy.Example(id=f"e{i}", question=f"Where is number {i}?", context="c", answer="Rome" if i % 2 else "Oslo") for i in range(count)
    ]
    return [example.with_inputs("question", "context") for example in made]


def right(example, prediction, trace=None):
    return float(prediction.answer == example.answer)


def programs(model):
    teacher, student = TwoStage(), TwoStage()
    teacher.set_lm(scripted_lm(two_stage_rule))
    student.decompose.set_lm(lm(model, max_tokens=8))
    student.solve.set_lm(teacher.solve.lm)
    return teacher, student


def test_the_decomposer_is_trained_and_the_solver_is_left_as_it_was(tiny_model, tmp_path, capsys):
    teacher, student = programs(tiny_model)
    optimizer = BootstrapDistill(min_rows=4, training=QUICK, folder=tmp_path)
    compiled = optimizer.compile(student, trainset=examples(8), teacher=teacher)
    assert "whole job: 100%; train decompose: 2/2" in capsys.readouterr().err.splitlines()[-1]
    assert compiled.solve.lm is student.solve.lm
    assert student.decompose.lm.model == tiny_model
    artifact = compiled.distilled.artifacts["decompose"]
    assert compiled.decompose.lm.model == artifact.model_string != tiny_model
    assert artifact.adapter == "line-terse"
    assert len(compiled.distilled.rows["decompose"]) == 8
    assert artifact.model_string in compiled.distilled._repr_html_() and compiled.distilled.decisions_frame()["kept"].sum() == 8
    assert [record["step"] for record in read_progress(artifact.folder)][-1] == 2
    assert compiled(question="Where is number 3?", context="c").answer == "Rome"


def test_a_second_compile_pays_and_trains_nothing(tiny_model, tmp_path, capsys):
    teacher, student = programs(tiny_model)
    optimizer = BootstrapDistill(min_rows=4, training=QUICK, folder=tmp_path)
    first = optimizer.compile(student, trainset=examples(6), teacher=teacher)
    asked = len(teacher.solve.lm.script.prompts)
    capsys.readouterr()
    optimizer.progress = False
    again = optimizer.compile(student, trainset=examples(6), teacher=teacher)
    assert capsys.readouterr().err == ""
    assert len(teacher.solve.lm.script.prompts) == asked == 12
    assert again.decompose.lm.model == first.decompose.lm.model


def test_oracle_screening_keeps_what_the_teacher_solves(tiny_model, tmp_path):
    teacher, student = programs(tiny_model)
    distilled = BootstrapDistill(metric=right, policy="oracle", folder=tmp_path).prepare(student, trainset=examples(6), teacher=teacher)
    assert [decision.reason for decision in distilled.decisions] == ["wrong_answer", None] * 3
    assert [row["id"] for row in distilled.rows["decompose"]] == ["e1", "e3", "e5"]


def test_rows_are_the_tokens_that_the_student_will_be_asked_with(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    teacher, student = programs(tiny_model)
    row = BootstrapDistill(folder=tmp_path).prepare(student, trainset=examples(1), teacher=teacher).rows["decompose"][0]
    tokenizer = AutoTokenizer.from_pretrained(resolve(tiny_model).folder)
    ids, mask = training_ids(tokenizer, row["messages"])
    asked = TerseLineAdapter().format(Decompose, [], student.decompose_inputs("Where is number 0?", "c"))
    prompt = prompt_ids(tokenizer, asked)
    assert ids[: len(prompt)] == prompt
    assert mask == [0] * len(prompt) + [1] * (len(ids) - len(prompt))
    assert tokenizer.decode(ids[len(prompt) :]) == "Who is it?\nWhere is #1?<|im_end|>"


def test_too_few_rows_say_what_was_dropped_and_train_nothing(tiny_model, tmp_path):
    teacher, student = programs(tiny_model)
    with pytest.raises(TooFewRowsError, match=r"Only 3 rows for 'decompose', at least 5.*3 wrong_answer"):
        BootstrapDistill(metric=right, policy="oracle", min_rows=5, folder=tmp_path).compile(student, trainset=examples(6), teacher=teacher)
    assert not (tmp_path / "student").exists()


def test_any_predictor_of_any_program_can_be_the_target(tiny_model, tmp_path):
    class Pipeline(dspy.Module):
        def __init__(self):
            super().__init__()
            self.draft = dspy.Predict("question -> draft")
            self.polish = dspy.Predict("draft -> answer")

        def forward(self, question, context=""):
            return self.polish(draft=self.draft(question=question).draft)

    teacher, student = Pipeline(), Pipeline()
    teacher.set_lm(scripted_lm(lambda p: "[[ ## draft ## ]]\nd" if "`[[ ## draft ## ]]`" in p else "[[ ## answer ## ]]\na"))
    student.draft.set_lm(teacher.draft.lm)
    student.polish.set_lm(lm(tiny_model))
    optimizer = BootstrapDistill(targets=["polish"], min_rows=4, training=QUICK.model_copy(update={"max_length": 250}), folder=tmp_path)
    compiled = optimizer.compile(student, trainset=examples(6), teacher=teacher)
    assert compiled.draft.lm is student.draft.lm
    assert compiled.distilled.artifacts["polish"].adapter == "chat"


def test_unknown_targets_and_models_that_cannot_be_trained_are_named(tiny_model, tmp_path):
    teacher, student = programs(tiny_model)
    with pytest.raises(ValueError, match=r"no predictor 'decomposer'; it has \['decompose', 'solve'\]"):
        BootstrapDistill(targets=["decomposer"], folder=tmp_path).compile(student, trainset=examples(2), teacher=teacher)
    with pytest.raises(ValueError, match="'openai/scripted' cannot be trained here"):
        BootstrapDistill(targets=["solve"], folder=tmp_path).compile(student, trainset=examples(2), teacher=teacher)
    with pytest.raises(ValueError, match="pass metric="):
        BootstrapDistill(policy="oracle")


def chats(count):
    return [{"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"number {i}"}]} for i in range(count)]


def trained(model, target, rows, spec=QUICK, **options):
    spec = spec.model_copy(update={"base": str(resolve(model).folder)})
    return train(rows, spec, target, name="t", adapter="line", base=model, **options)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_lora_and_full_training_change_the_weights_they_should(tiny_model, tmp_path, method):
    from safetensors.torch import load_file

    artifact = trained(tiny_model, tmp_path / "t", chats(8), QUICK.model_copy(update={"method": method, "save_dtype": "float32"}))
    before, after = load_file(resolve(tiny_model).folder / "model.safetensors"), load_file(artifact.folder / "model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name].to(before[name].dtype))}
    linear = {name for name in before if name.endswith("proj.weight")}
    assert changed == (linear if method == "lora" else set(before))
    assert open_artifact(artifact.folder).manifest["metrics"]["rows"] == 8


def test_an_artifact_is_never_overwritten_by_other_rows(tiny_model, tmp_path):
    first = trained(tiny_model, tmp_path / "t", chats(4))
    assert trained(tiny_model, tmp_path / "t", chats(4)).hash == first.hash
    with pytest.raises(ValueError, match="never overwritten"):
        trained(tiny_model, tmp_path / "t", chats(5))


def test_a_stopped_training_goes_on_to_the_same_weights(tiny_model, tmp_path):
    spec = QUICK.model_copy(update={"epochs": 3, "save_steps": 4})
    whole = trained(tiny_model, tmp_path / "whole", chats(16), spec)
    stopped = [False]

    def stop_after_three(step, steps, loss):
        stopped[0] = step >= 3

    with pytest.raises(KeyboardInterrupt):
        trained(tiny_model, tmp_path / "t", chats(16), spec, progress=stop_after_three, cancelled=lambda: stopped[0])
    assert list((tmp_path / "t.work" / "checkpoints").glob("checkpoint-*"))
    resumed = trained(tiny_model, tmp_path / "t", chats(16), spec)
    assert resumed.model_string == whole.model_string


def test_a_training_killed_after_its_last_step_ends_in_the_same_weights(tiny_model, tmp_path, monkeypatch):
    spec = QUICK.model_copy(update={"max_steps": 3, "save_steps": 1})
    whole = trained(tiny_model, tmp_path / "whole", chats(16), spec)
    with monkeypatch.context() as killed:
        killed.setattr("optimizers.finetune.train._publish", lambda *args, **options: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            trained(tiny_model, tmp_path / "t", chats(16), spec)
    (tmp_path / "t.work" / "done.json").unlink()
    assert trained(tiny_model, tmp_path / "t", chats(16), spec).model_string == whole.model_string


FEW = [
    (8, {}, 2),
    (8, {"min_steps": 5}, 5),
    (40, {"min_steps": 5}, 10),
    (9, {"min_steps": 1}, 3),
    (8, {"min_steps": 5, "max_steps": 3}, 3),
    (9, {"gradient_accumulation": 2}, 2),
]


@pytest.mark.parametrize(("rows", "given", "steps"), FEW)
def test_few_rows_are_repeated_up_to_min_steps(rows, given, steps):
    assert QUICK.model_copy(update=given).steps_of(rows) == steps


@pytest.mark.own_process
def test_the_trainer_makes_the_steps_that_are_asked_for(tiny_model, tmp_path):
    artifact = trained(tiny_model, tmp_path / "t", chats(8), QUICK.model_copy(update={"min_steps": 5}))
    assert artifact.manifest["metrics"]["steps"] == 5


def test_a_training_that_was_killed_says_so_and_not_its_log(tiny_model, tmp_path, monkeypatch):
    def killed(work, log, *_):
        return subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], stdout=log, stderr=log)

    monkeypatch.setattr("optimizers.finetune.train.start_trainer", killed)
    with pytest.raises(
        TrainingError, match=r"ended from outside by SIGKILL, as a system does where memory runs out .*same command goes on"
    ):
        trained(tiny_model, tmp_path / "t", chats(8), QUICK)


@pytest.mark.own_process
def test_a_failed_training_raises_with_the_end_of_its_log(tiny_model, tmp_path):
    row = {"messages": [{"role": "user", "content": "long " * 50}, {"role": "assistant", "content": "a"}]}
    with pytest.raises(TrainingError, match=r"exit code 1(.|\n)*fits max_length=16"):
        trained(tiny_model, tmp_path / "t", [row], QUICK.model_copy(update={"max_length": 16}))
    assert not (tmp_path / "t").exists()


def test_stock_bootstrap_finetune_trains_through_the_provider(tiny_model, tmp_path):
    program = dspy.Predict("question -> answer")
    program.set_lm(lm(tiny_model))
    program.lm.provider = TRLProvider(tmp_path, spec=QUICK.model_copy(update={"max_length": 250}))
    teacher = dspy.Predict("question -> answer")
    teacher.set_lm(scripted_lm(lambda prompt: "[[ ## answer ## ]]\nRome\n\n[[ ## completed ## ]]"))
    compiled = dspy.BootstrapFinetune(num_threads=2).compile(program, trainset=examples(4), teacher=teacher)
    assert compiled.lm.model.startswith("local/") and compiled.lm.model != tiny_model
    assert open_artifact(resolve(compiled.lm.model).folder).adapter == "chat"


def test_the_provider_raises_in_the_waiting_thread(tiny_model, tmp_path):
    model = lm(tiny_model)
    model.provider = TRLProvider(tmp_path)
    with pytest.raises(ValueError, match="No rows to train on"):
        model.finetune([], TrainDataFormat.CHAT).result(timeout=60)
    with pytest.raises(ValueError, match="expected messages that end with 'assistant'"):
        model.finetune([{"messages": [{"role": "user", "content": "x"}]}], TrainDataFormat.CHAT).result(timeout=60)
    job = model.finetune(chats(4), TrainDataFormat.CHAT, {"epochs": 1, "rank": 3})
    with pytest.raises(ValueError, match="rank"):
        job.result(timeout=60)
    assert job.status() == "finished" and job.cancel() is False


def test_a_tampered_student_is_refused(tiny_model, tmp_path):
    artifact = trained(tiny_model, tmp_path / "t", chats(4))
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    assert manifest["training"]["epochs"] == 1
    with (artifact.folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        open_artifact(artifact.folder)


def test_a_trainer_ends_when_its_caller_is_killed(tiny_model, tmp_path):
    """Nobody else would: it runs in a session of its own, so that Ctrl-C reaches the caller alone."""
    spec = QUICK.model_copy(update={"base": str(resolve(tiny_model).folder), "max_steps": 100_000, "save_steps": 50_000})
    lines = [
        "import json, sys; from pathlib import Path; from optimizers.finetune.train import train",
        "from optimizers.finetune.spec import TrainingSpec",
        f"spec = TrainingSpec.model_validate_json({spec.model_dump_json()!r})",
        f"train({chats(8)!r}, spec, Path({str(tmp_path / 't')!r}), name='t', adapter='line', base='x')",
    ]
    caller = subprocess.Popen([sys.executable, "-c", "\n".join(lines)])
    work = tmp_path / "t.work"
    while not read_progress(work):
        time.sleep(0.2)
        assert caller.poll() is None
    caller.kill()
    caller.wait()
    with FileLock(tmp_path / "t.work.lock", timeout=60):
        steps = len(read_progress(work))
    assert list((work / "checkpoints").glob("checkpoint-*"))
    time.sleep(1)
    assert len(read_progress(work)) == steps
