"""What a model was trained to read is applied wherever it is asked."""

from __future__ import annotations

import json
import shutil

import dspy
import pytest
from fastapi.testclient import TestClient

from programs import TwoStage
from programs.adapter import TerseLineAdapter
from programs.lms import artifacts, chat, gguf, lm
from programs.lms.server import create_app
from programs.lms.trained_prompts import (
    UNTOLD,
    manifest_entry,
    plain_prompt,
    prompts_of,
    prompts_of_model,
    trained_prompt,
    trained_to_decompose,
)
from programs.modules import two_stage
from programs.signatures import Decompose, Solve
from programs.tasks.registry import load_task

PASSAGE = "Anna is the sister of Ben."
QUESTION = "Who is Ben's sister?"


def student(tiny, folder, **manifest):
    """The tiny model as a student of its own."""
    source = folder / "source"
    shutil.copytree(tiny.folder, source, ignore=shutil.ignore_patterns("manifest.json"))
    artifact = artifacts.publish(source, folder / "student", name="S_D-R", adapter="line-terse", base="random", **manifest)
    artifacts.register(artifact)
    return artifact


def decompose_rows(*, context, limit):
    return trained_prompt(dspy.Predict(Decompose), "line-terse", [{"context": context, "question": QUESTION, "max_subquestions": limit}])


@pytest.mark.parametrize(("context", "limit", "sees"), [(PASSAGE, 3, True), ("", 4, False), ("", None, False)])
def test_two_stages_give_a_student_what_its_rows_had(tiny, home, tmp_path, context, limit, sees):
    artifact = student(tiny, tmp_path, **manifest_entry({"decompose": decompose_rows(context=context, limit=limit)}))
    program = TwoStage()
    program.decompose.set_lm(lm(artifact.model_string))
    assert program.decompose_inputs(QUESTION, PASSAGE).get("max_subquestions") == limit
    assert program.decompose_inputs(QUESTION, PASSAGE)["context"] == (PASSAGE if sees else "")


def test_what_is_said_outright_goes_before_what_was_trained(tiny, home, tmp_path):
    artifact = student(tiny, tmp_path, **manifest_entry({"decompose": decompose_rows(context="", limit=4)}))
    program = TwoStage(max_subquestions=2, decomposer_sees_context=True)
    program.decompose.set_lm(lm(artifact.model_string))
    assert program.decompose_inputs(QUESTION, PASSAGE) == {"context": PASSAGE, "question": QUESTION, "max_subquestions": 2}


def test_a_model_of_somebody_else_sees_the_passage_and_the_papers_limit():
    program = TwoStage()
    program.decompose.set_lm(dspy.LM("openai/gpt-4o-mini"))
    assert program.decompose_inputs(QUESTION, PASSAGE) == {"context": PASSAGE, "question": QUESTION, "max_subquestions": 3}


@pytest.mark.parametrize("task", ["drop", "jsonl"])
def test_tasks_leave_the_passage_to_the_model(task, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": QUESTION, "context": PASSAGE, "answer": "Anna"}) + "\n")
    program = two_stage(load_task(task, path=str(tmp_path / "a.jsonl")), lm("embedded/teacher"), dspy.LM("openai/gpt-4o-mini"))
    assert not program.decomposer_sees_context
    program.decompose.set_lm(dspy.LM("openai/gpt-4o-mini"))
    assert program.decomposer_sees_context


def test_the_embedded_teacher_needs_no_options():
    program = TwoStage()
    program.decompose.set_lm(lm("embedded/teacher"))
    assert program.decompose_inputs(QUESTION, PASSAGE) == {"context": "", "question": QUESTION, "max_subquestions": 4}


@pytest.mark.parametrize("bad", [0, -1, "three", 1.5])
def test_a_bad_limit_is_refused(bad):
    with pytest.raises(ValueError, match="max_subquestions"):
        TwoStage(max_subquestions=bad)


def test_rows_of_several_limits_tell_none():
    inputs = [{"context": "", "question": QUESTION, "max_subquestions": limit} for limit in (2, 3)]
    found = trained_prompt(dspy.Predict(Decompose), "line-terse", inputs)
    assert found.max_subquestions == UNTOLD
    assert "subquestions:" not in found.messages[-1]["content"]


def test_an_old_student_is_known_by_the_rows_that_lie_in_it(tiny, home, tmp_path):
    given = {"context": PASSAGE, "question": QUESTION, "max_subquestions": 2}
    row = TerseLineAdapter().format_finetune_data(Decompose, [], given, {"subquestions": ["Who is Ben?"]})
    source = tmp_path / "with_rows"
    shutil.copytree(tiny.folder, source, ignore=shutil.ignore_patterns("manifest.json"))
    (source / "rows.jsonl").write_text(json.dumps(row) + "\n")
    artifact = artifacts.publish(source, tmp_path / "old", name="S_D-T", adapter="line-terse")
    found = prompts_of(artifact)["decompose"]
    assert (found.sees_context, found.max_subquestions) == (True, 2)


def test_a_solver_takes_no_bare_question():
    found = trained_prompt(dspy.Predict(Solve), "line-terse", [{"context": PASSAGE, "question": QUESTION, "subquestions": ["a"]}])
    assert plain_prompt({"solve": found}) is None
    assert trained_to_decompose(lm("embedded/base")) is None


def test_the_server_takes_a_bare_question_in_the_trained_form(tiny, tiny_model, tmp_path):
    prompt = decompose_rows(context="", limit=3)
    artifact = student(tiny, tmp_path, **manifest_entry({"decompose": prompt}))
    client = TestClient(create_app({"S_D-R": artifact.model_string}))

    def ask(messages):
        body = {"model": "S_D-R", "messages": messages, "max_tokens": 8}
        return client.post("/v1/chat/completions", json=body).json()

    def result(reply):
        return reply["choices"][0]["message"]["content"], reply["usage"]["prompt_tokens"]

    bare = [{"role": "user", "content": QUESTION}]
    assert result(ask(bare)) == result(ask(prompt.chat(QUESTION)))
    before = [{"role": "user", "content": "Who is Ben?"}, {"role": "assistant", "content": "Who?"}]
    assert result(ask([*before, *bare])) == result(ask(bare))
    told = [{"role": "system", "content": "Say yes."}, *bare]
    assert result(ask(told))[1] != result(ask(bare))[1]


def test_an_exported_student_takes_a_bare_question(tiny, home, tmp_path):
    from transformers import AutoTokenizer

    prompt = decompose_rows(context="", limit=3)
    artifact = student(tiny, tmp_path, **manifest_entry({"decompose": prompt}))
    (tmp_path / "out").mkdir()
    target, modelfile, template = gguf.export(artifact, tmp_path / "out" / "S_D-R.gguf")
    tokenizer = AutoTokenizer.from_pretrained(target.parent, gguf_file=target.name)
    bare, whole = [{"role": "user", "content": QUESTION}], prompt.chat(QUESTION)
    assert chat.render(tokenizer, bare) == chat.render(tokenizer, whole)
    assert f"Question: {QUESTION}\nMax subquestions: 3" in chat.render(tokenizer, bare)
    # What an earlier question was answered is no part of what the student was trained to read.
    again = [{"role": "user", "content": "Who is Ben?"}, {"role": "assistant", "content": "Who?"}, *bare]
    assert chat.render(tokenizer, again) == chat.render(tokenizer, whole)
    told = [{"role": "system", "content": "Say yes."}, *again]
    assert "Subquestions" not in chat.render(tokenizer, told) and "Who is Ben?" in chat.render(tokenizer, told)
    assert template.read_text() == tokenizer.chat_template
    assert modelfile.read_text().startswith("FROM ./S_D-R.gguf\n") and "Question: {{ $last.Content }}" in modelfile.read_text()
    with pytest.raises(ValueError, match="exists already"):
        gguf.export(artifact, target)


def test_the_manifest_gives_back_what_was_written(tiny, home, tmp_path):
    prompt = decompose_rows(context=PASSAGE, limit=3)
    artifact = student(tiny, tmp_path, **manifest_entry({"decompose": prompt}))
    assert prompts_of_model(artifact.model_string)["decompose"] == prompt
