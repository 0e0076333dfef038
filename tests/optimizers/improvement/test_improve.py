"""Learning from the solver's success: which decompositions become rows and pairs, and rounds that stop, resume and keep the best."""

import json
import tomllib
from types import SimpleNamespace

import dspy
import pytest
import tomli_w
from forked_training import ForkedTraining
from scripted import AsyncScriptedEngine, ScriptedEngine, scripted_lm

from optimizers import Improvement, LearnFromSuccess, TrainingSpec, improve
from optimizers.finetune.provider import base_folder
from optimizers.finetune.rewards import Rewards, agreed
from optimizers.finetune.specs import GroupRewardSpec, PreferenceSpec
from optimizers.improvement.job import ImproveJob
from optimizers.improvement.preference_pairs import distinct, pairs_of, right_ones
from optimizers.jobs.jsonlines import read_json, read_lines
from optimizers.labelling.samples import Call, Sample
from optimizers.settings.improve import ImproveConfig
from optimizers.settings.load import load_config
from programs import FeedbackTwoStage, TwoStage
from programs.lms.artifacts import open_artifact
from programs.lms.catalog import lm
from programs.lms.chat import prompt_ids
from programs.lms.model_strings import resolve
from programs.tasks.base import Task

QUICK = TrainingSpec(max_steps=2, batch_size=2, save_steps=1, max_length=200, warmup_steps=0)
GOOD, BAD, LONG = "Who is it?\nWhere is #1?", "What is this?", "Who is it?\nWhere is #1?\nAnd why?"


class Capitals(Task):
    name, summary = "capitals", "for tests"

    def load(self, split, limit=None):
        return examples(limit or 4, split)


def examples(count, split="train"):
    made = [dspy.Example(id=f"{split}{i}", question=f"Where is {split} {i}?", context="c", answer="Rome") for i in range(count)]
    return [example.with_inputs("question", "context") for example in made]


class Sampled(ScriptedEngine):
    """Writes one text greedily, and by the seed one of several."""

    def __init__(self, greedy, *texts):
        super().__init__(lambda prompt: greedy)
        self.texts = texts

    def complete(self, request):
        seed = request.config.seed
        self.rule = (lambda text: lambda prompt: text)(self.texts[seed % len(self.texts)] if seed is not None else self.greedy)
        return super().complete(request)


def sampler(model, greedy, *texts):
    engine = Sampled(greedy, *texts)
    engine.greedy = greedy
    made = dspy.LM(
        model, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False, num_retries=0, temperature=0.0, max_tokens=8
    )
    made.script = engine
    return made


def solver_rule(prompt):
    """Right with the good subquestions, wrong without."""
    if "Subquestions" not in prompt:
        return "Answer: Oslo"
    return "Ann\nRome\nAnswer: Rome" if "Who is it?" in prompt else "Answer: Oslo"


def program(model, greedy, *texts, form=TwoStage):
    made = form(max_subquestions=3)
    made.set_lm(scripted_lm(solver_rule))
    made.decompose.set_lm(sampler(model, greedy, *texts))
    return made


def learner(folder, further=None, **settings):
    chosen = ImproveConfig(**{"samples": 2, "min_rows": 2, "temperature": 1.0, **settings})
    return LearnFromSuccess(Capitals(), chosen, folder=folder, training=QUICK, threads=2, **(further or {}))


def compiled(optimizer, student, count=4):
    return optimizer.compile(student, trainset=examples(count), valset=examples(3, "dev"))


# Rewards and pairs


def sample(number, lines, answer, state="ok"):
    prediction = {"subquestions": lines if state == "ok" else [], "lines": lines, "state": state, "answer": answer}
    return Sample("e", number, [Call("decompose", {"question": "q?"}, {})], prediction, {})


EXAMPLE = dspy.Example(id="e", question="q?", answer="Rome").with_inputs("question")


def test_score_gain_and_agreement():
    samples = [sample(0, ["a?"], "Rome"), sample(1, ["b?"], "Oslo"), sample(2, ["mumble"], "Rome", "unparseable")]
    assert Rewards(Capitals())(EXAMPLE, samples) == [1.0, 0.0, 0.0]
    assert Rewards(Capitals(), "gain", {"e": 1.0})(EXAMPLE, samples) == [0.0, -1.0, -1.0]
    assert Rewards(Capitals(), "gain", {"e": None})(EXAMPLE, samples) == [None] * 3
    assert Rewards(Capitals(), "agreement", min_share=0.3)(EXAMPLE, samples) == [1.0, 0.0, 0.0]
    failed = Sample("e", 3, [], {}, {}, "timeout")
    assert Rewards(Capitals())(EXAMPLE, [failed]) == [None]
    assert agreed(["Rome", "the rome.", "Oslo", None], 0.5) == [1.0, 1.0, 0.0, 0.0]
    assert agreed(["unknown", "I don't know", "Rome", "Rome"], 0.5) == [0.0, 0.0, 1.0, 1.0]
    assert agreed(["unknown"] * 3 + ["Rome"], 0.5) == [None] * 4
    assert agreed(["Rome", "Oslo", "Bern"], 0.5) == [None, *agreed([None, None], 0.1)]
    with pytest.raises(ValueError, match=r"'luck'; expected one of \['score', 'gain', 'agreement'\]"):
        Rewards(Capitals(), "luck")


def test_rows_are_distinct_and_short_ones_come_first_only_if_asked_for():
    texts = [["a?", "b?"], ["c?", "d?"], ["e?"], ["c?", "d?"]]
    samples = [sample(number, lines, "Rome") for number, lines in enumerate(texts)] + [sample(4, ["f?"], "Oslo")]
    attempts = distinct(samples, Rewards(Capitals())(EXAMPLE, samples), "decompose")
    assert [(one.lines, one.count) for one in right_ones(attempts, 1.0)] == [(("c?", "d?"), 2), (("a?", "b?"), 1), (("e?",), 1)]
    assert [one.lines for one in right_ones(attempts, 1.0, "fewer")] == [("e?",), ("c?", "d?"), ("a?", "b?")]


def test_pairs_are_of_one_question_and_never_reward_what_cannot_be_read():
    samples = [
        sample(0, ["a?"], "Rome"),
        sample(1, ["b?"], "Rome"),
        sample(2, ["c?"], "Oslo"),
        sample(3, ["mumble"], "Rome", "unparseable"),
    ]
    attempts = distinct(samples, Rewards(Capitals())(EXAMPLE, samples), "decompose")
    pairs = [(chosen.lines, rejected.lines) for chosen, rejected in pairs_of(attempts, 1.0, count=9)]
    assert set(pairs) == {((good,), (bad,)) for good in ("a?", "b?") for bad in ("c?", "mumble")}
    assert {chosen for chosen, _ in pairs[:2]} == {("a?",), ("b?",)} and {bad for _, bad in pairs[:2]} == {("c?",), ("mumble",)}
    assert pairs_of(attempts[:2], 1.0) == []


# Rounds


def test_expert_rounds_train_on_what_was_right_and_the_best_is_kept(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, LONG, BAD)
    better = compiled(learner(tmp_path), student)
    rows = list(read_lines(tmp_path / "1" / "rows.jsonl"))
    assert [(row["id"], row["messages"][-1]["content"]) for row in rows] == [(f"train{i}", LONG) for i in range(4)]
    learned = better.learned
    # Trained for two steps, the random model writes nothing of use: round 0 was better, and patience ends it.
    assert [one.score.estimate for one in learned.rounds] == [1.0, 0.0]
    assert learned.best.number == 0 and "not risen for 1 round" in learned.ended and learned.incomplete is None
    assert better.decompose.lm.model == tiny_model and better.solve.lm is student.solve.lm
    tried = read_json(tmp_path / "1" / "tried.json")
    assert (tried["decompositions"], tried["right"], tried["wrong"], tried["rows"]) == (8, 4, 4, 4)
    assert open_artifact(tmp_path / "1" / "student").manifest["metrics"]["rows"] == 4
    assert learned.rounds[1].usage["decompose"].calls == 8 + 3


def test_rows_are_the_tokens_that_the_student_is_asked_with(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    from optimizers.finetune.dpo import pair_dataset

    student = program(tiny_model, GOOD, GOOD, BAD)
    compiled(learner(tmp_path, method="dpo"), student)
    tokenizer = AutoTokenizer.from_pretrained(resolve(tiny_model).folder)
    pair = pair_dataset(tmp_path / "1" / "rows.jsonl", tokenizer, 200)[0]
    asked = student.adapter_of("decompose").format(student.decompose.signature, [], student.decompose_inputs("Where is train 0?", "c"))
    assert pair["prompt_ids"] == prompt_ids(tokenizer, asked)
    assert [tokenizer.decode(pair[f"{side}_ids"]) for side in ("chosen", "rejected")] == [f"{GOOD}<|im_end|>", f"{BAD}<|im_end|>"]


def test_dpo_really_trains_and_a_killed_round_repeats_nothing(tiny_model, tmp_path, monkeypatch):
    student = program(tiny_model, GOOD, GOOD, BAD)
    with monkeypatch.context() as killed:
        killed.setattr("optimizers.improvement.learn_from_success.train", lambda *args, **options: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            compiled(learner(tmp_path, method="dpo"), student)
    asked = len(student.decompose.lm.script.prompts), len(student.solve.lm.script.prompts)
    with monkeypatch.context() as killed:
        killed.setattr("optimizers.finetune.train._publish", lambda *args, **options: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            compiled(learner(tmp_path, method="dpo"), student)
    started = []
    monkeypatch.setattr("optimizers.finetune.train.start_trainer", lambda *args: started.append(args) or ForkedTraining(*args))
    learned = compiled(learner(tmp_path, method="dpo"), student).learned
    assert (len(student.decompose.lm.script.prompts), len(student.solve.lm.script.prompts) - asked[1]) == (asked[0], 3)
    artifact = open_artifact(tmp_path / "1" / "student")
    assert artifact.manifest["training"]["kind"] == "dpo" and artifact.manifest["metrics"]["steps"] == 2
    assert [len(learned.rounds), learned.rounds[1].model] == [2, artifact.model_string]
    again = compiled(learner(tmp_path, method="dpo"), student).learned
    assert [one.score for one in again.rounds] == [one.score for one in learned.rounds]
    assert len(started) == 1  # the trainer that finds its job done


def test_dpo_makes_the_chosen_text_likelier_than_the_rejected_one(tiny_model, tmp_path):
    from optimizers.finetune.job_folder import read_progress
    from optimizers.finetune.train import train

    chat = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "yes please"}]
    spec = PreferenceSpec(base=base_folder(tiny_model), max_steps=12, batch_size=2, learning_rate=1e-2, warmup_steps=0, save_steps=4)
    artifact = train([{"messages": chat, "rejected": "no"}] * 4, spec, tmp_path / "t", name="t", adapter="line", base=tiny_model)
    records = read_progress(artifact.folder)
    assert records[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # policy and reference agree at first: log 2
    assert records[11]["loss"] < 0.1 and records[11]["rewards/accuracies"] == 1.0


def test_completion_head_agrees_with_trls_own(tiny_model):
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from optimizers.finetune.completion_head import add_completion_head

    ids = torch.tensor([[1, 5, 9, 14, 3], [1, 7, 2, 8, 0]])
    labels = torch.tensor([[-100, -100, 9, 14, 3], [-100, 7, 2, -100, -100]])
    found = []
    for add in (lambda model: add_fused_lm_head(model, 0.7, outputs=("log_probs", "entropy", "mean_logits", "is_top1")),
                lambda model: add_completion_head(model, 0.7)):  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(resolve(tiny_model).folder, dtype=torch.float32)
        add(model)
        found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True))
    for name in ("log_probs", "entropy", "mean_logits", "loss"):
        assert torch.allclose(getattr(found[0], name), getattr(found[1], name), atol=1e-4), name
    assert torch.equal(found[0].is_top1.bool(), found[1].is_top1.bool())


def test_what_a_solver_makes_up_for_is_right_only_while_it_sees_the_question(tiny_model, tmp_path):
    def rights(folder, **settings):
        student = program(tiny_model, GOOD, BAD, BAD)
        student.solve.lm.script.rule = lambda prompt: "Answer: Rome" if "Where is train" in prompt else "Answer: Oslo"
        compiled(learner(tmp_path / folder, **settings), student)
        return read_json(tmp_path / folder / "1" / "tried.json")["right"]

    assert (rights("shown"), rights("hidden", hide_question=True)) == (8, 0)
    bare = dspy.Example(id="a", question="Where is it?", answer="Rome").with_inputs("question")
    with pytest.raises(ValueError, match=r"improve.hide_question=true leaves the solver nothing .* no context: 'Where is it\?'"):
        learner(tmp_path / "bare", hide_question=True).compile(program(tiny_model, GOOD), trainset=[bare], valset=examples(2, "dev"))


def test_rounds_go_on_while_the_dev_score_rises(tiny_model, tmp_path, monkeypatch):
    texts = {1: (GOOD, GOOD, BAD), 2: (BAD, GOOD, BAD)}
    monkeypatch.setattr(
        "optimizers.improvement.learn_from_success.like", lambda model, name: sampler(name, *texts[int(name.split("-")[1][0])])
    )
    better = compiled(learner(tmp_path, rounds=5), program(tiny_model, BAD, GOOD, LONG))
    learned = better.learned
    assert [one.score.estimate for one in learned.rounds] == [0.0, 1.0, 0.0]
    assert learned.best.number == 1 and better.decompose.lm.model == learned.rounds[1].model
    assert open_artifact(tmp_path / "2" / "student").manifest["base"] == learned.rounds[1].model


def test_too_few_new_rows_end_it(tiny_model, tmp_path):
    learned = compiled(learner(tmp_path), program(tiny_model, GOOD, BAD, BAD)).learned
    assert learned.ended == "round 1 found 0 new right decompositions, 2 are needed"
    assert not (tmp_path / "1" / "student").exists() and learned.incomplete is None


def test_rows_that_the_teacher_wrote_are_not_new(tiny_model, tmp_path):
    first = learner(tmp_path / "a")
    student = program(tiny_model, GOOD, GOOD, BAD)
    compiled(first, student)
    again = learner(tmp_path / "b")
    again.rows = list(read_lines(tmp_path / "a" / "1" / "rows.jsonl"))[:3]
    assert "found 1 new" in compiled(again, student).learned.ended


def test_a_limit_keeps_the_best_so_far(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, BAD)
    learned = compiled(learner(tmp_path, max_calls=8), student).learned
    assert learned.incomplete == "limit of 8 calls reached" == learned.ended
    assert learned.best.number == 0 and learned.best.score.estimate == 1.0
    assert compiled(learner(tmp_path), student).learned.incomplete is None
    assert len(student.decompose.lm.script.prompts) == 3 + 8


def test_a_solver_that_fails_ends_it_and_is_asked_again(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, BAD)
    broken = [True]
    rule = student.solve.lm.script.rule
    student.solve.lm.script.rule = lambda prompt: ConnectionError("down") if broken[0] and "train" in prompt else rule(prompt)
    assert "attempts failed" in compiled(learner(tmp_path), student).learned.incomplete
    broken[0] = False
    assert compiled(learner(tmp_path), student).learned.incomplete is None
    assert len(student.decompose.lm.script.prompts) == 3 + 8


def test_gain_rewards_only_what_the_solver_cannot_do_alone(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, BAD)
    plain = student.solve.lm.script.rule
    student.solve.lm.script.rule = lambda prompt: "Answer: Rome" if "Subq" not in prompt and "train 0" in prompt else plain(prompt)
    compiled(learner(tmp_path, reward="gain"), student)
    assert [row["id"] for row in read_lines(tmp_path / "1" / "rows.jsonl")] == ["train1", "train2", "train3"]
    assert read_json(tmp_path / "1" / "tried.json")["usage"]["answer"]["calls"] == 4


def test_agreement_needs_no_reference_answers(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, LONG, BAD)
    unlabelled = [dspy.Example(**{**example, "answer": None}).with_inputs("question", "context") for example in examples(3)]
    optimizer = learner(tmp_path, reward="agreement", samples=3)
    optimizer.compile(student, trainset=unlabelled, valset=examples(2, "dev"))
    assert {row["messages"][-1]["content"] for row in read_lines(tmp_path / "1" / "rows.jsonl")} == {GOOD}


def test_feedback_rows_show_the_attempt(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, BAD, form=FeedbackTwoStage)
    compiled(learner(tmp_path), student)
    row = next(read_lines(tmp_path / "1" / "rows.jsonl"))
    assert "Answer: Oslo\nMax subquestions: 3" in row["messages"][-2]["content"]


def test_what_cannot_work_is_said_before_any_work(tiny_model, tmp_path):
    student = program(tiny_model, GOOD, GOOD, BAD)
    optimizer = learner(tmp_path / "rounds")
    with pytest.raises(ValueError, match="no dev questions"):
        optimizer.compile(student, trainset=examples(2))
    with pytest.raises(ValueError, match="both in train and in dev"):
        optimizer.compile(student, trainset=examples(2), valset=examples(1))
    student.decompose.set_lm(scripted_lm(solver_rule))
    with pytest.raises(ValueError, match="'openai/scripted' cannot be trained here"):
        compiled(optimizer, student)
    with pytest.raises(ValueError, match="pass task_config= and solver="):
        learner(tmp_path / "rounds", method="grpo")
    assert not (tmp_path / "rounds").exists()


# GRPO


def group_spec(model, **options):
    given = {
        "max_steps": 2,
        "batch_size": 4,
        "group_size": 4,
        "max_completion": 12,
        "task": "multihop",
        "solver": model,
        "learning_rate": 1e-2,
    }
    return GroupRewardSpec(**{**given, "base": base_folder(model), "save_steps": 1, "warmup_steps": 0, **options})


def prompts(count):
    from optimizers.improvement.preference_pairs import prompt_row
    from programs.tasks.registry import load_task

    asked = TwoStage(adapters={"decompose": "line-terse"})
    found = load_task("multihop").load("train", count)
    return [prompt_row(asked, asked.decompose_inputs(example.question), example) for example in found]


def test_the_reward_is_what_the_solver_makes_of_a_sampled_decomposition(tiny_model, tmp_path, monkeypatch):
    from optimizers.finetune import grpo as group_reward
    from optimizers.labelling.journal import Journal

    rows = prompts(2)
    golds = [row["example"]["answer"] for row in rows]
    solver = scripted_lm(lambda prompt: f"x\nAnswer: {golds[0]}" if "Who is it?" in prompt else "x\nAnswer: Nowhere")
    monkeypatch.setattr(group_reward, "lm", lambda name, **options: solver)
    completions = ["Who is it?\nWhere is #1?", "What?", "mumble", "No decomposition", "Who is it?"]
    with Journal(tmp_path / "calls.jsonl") as journal:
        reward = group_reward.solver_reward(group_spec(tiny_model), [row["example"] for row in rows], journal)
        assert reward(completions=completions, row=[0, 0, 0, 0, 1], prompts=[], completion_ids=[]) == [1.0, 0.0, 0.0, 0.0, 0.0]
        asked = len(solver.script.prompts)
        assert reward(completions=completions[:1], row=[0]) == [1.0] and len(solver.script.prompts) == asked == 4
        hiding = group_reward.solver_reward(group_spec(tiny_model, hide_question=True), [row["example"] for row in rows], journal)
        hiding(completions=completions[:1], row=[0])
        assert rows[0]["example"]["question"] not in solver.script.prompts[-1] and len(solver.script.prompts) == asked + 1
        voting = group_reward.solver_reward(group_spec(tiny_model, reward="agreement"), [row["example"] for row in rows], journal)
        assert voting(completions=completions[1:4], row=[0, 0, 0]) == [1.0, 0.0, 1.0]


def test_grpo_moves_the_weights_by_the_rewards(tiny_model, tmp_path, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from optimizers.finetune import grpo as group_reward
    from optimizers.finetune.bases import lora_config
    from programs.decomposition import Decomposition

    # The random model never asks a question; that its lines are taken for some is all that is made up here.
    monkeypatch.setattr(
        group_reward, "read_decomposition", lambda lines, limit, question: Decomposition(list(lines[:2]), "ok", list(lines))
    )
    rows = prompts(2)
    gold = rows[0]["example"]["answer"]
    solver = scripted_lm(lambda prompt: f"x\nAnswer: {gold if len(prompt) % 2 else 'Nowhere'}")
    monkeypatch.setattr(group_reward, "lm", lambda name, **options: solver)
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    spec = group_spec(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(spec.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(spec.base)
    made = group_reward.group_trainer(tmp_path / "job", spec, tokenizer, model, lora_config(spec), on_cpu=True)
    made.train()
    assert any(bool(weight.abs().sum() > 0) for name, weight in made.model.named_parameters() if "lora_B" in name)
    assert {log["reward"] for log in made.state.log_history if "reward" in log} != {0.0}


def test_grpo_runs_in_a_process_of_its_own_and_leaves_an_artifact(tiny_model, tmp_path):
    from optimizers.finetune.job_folder import read_progress
    from optimizers.finetune.train import train

    artifact = train(prompts(2), group_spec(tiny_model), tmp_path / "student", name="g", adapter="line-terse", base=tiny_model)
    assert artifact.manifest["training"]["kind"] == "grpo" and artifact.manifest["metrics"]["steps"] == 2
    assert [record["reward"] for record in read_progress(artifact.folder) if "reward" in record] == [0.0, 0.0]
    assert artifact.manifest["metrics"]["tokens"] > 0 and (tmp_path / "solver_calls.jsonl").exists()
    assert lm(artifact.model_string).model == artifact.model_string


def test_the_limits_reach_into_the_process_of_grpo(tiny_model, tmp_path):
    from optimizers.finetune.train import train
    from optimizers.settings.models import ModelConfig
    from optimizers.settings.task import TaskConfig

    rows = [{"messages": [*row["messages"], {"role": "assistant", "content": GOOD}]} for row in prompts(4)]
    asking = TrainingSpec(max_steps=60, batch_size=4, max_length=200, warmup_steps=0, learning_rate=1e-2, base=base_folder(tiny_model))
    student = program(train(rows, asking, tmp_path / "asking", name="asking", adapter="line-terse", base=tiny_model).model_string, GOOD)

    def learned(**settings):
        group = {"steps": 2, "group_size": 2, "questions_per_step": 1, "temperature": 0.1}
        solver = {"task_config": TaskConfig(name="multihop"), "solver": ModelConfig(model=tiny_model, max_tokens=4)}
        optimizer = learner(tmp_path / "rounds", solver, method="grpo", rounds=1, grpo=group, **settings)
        return compiled(optimizer, student, count=2).learned

    calls = tmp_path / "rounds" / "1" / "solver_calls.jsonl"
    stopped = learned(max_calls=6 + 1)
    assert stopped.incomplete == "limit of 7 calls reached" and stopped.best.number == 0 and len(list(read_lines(calls))) == 1
    done = learned()
    assert done.incomplete is None and [one.number for one in done.rounds] == [0, 1]
    keys = [line["key"] for line in read_lines(calls)]
    assert len(keys) == len(set(keys)) > 1 and done.rounds[1].usage["solve"].calls == len(keys) + 3


# The command


def config(tmp_path, **overrides):
    given = {"out": str(tmp_path / "run"), "data.train": 8, "data.test": 3, "improve.data.dev": 3, **overrides}
    return load_config("forgiving", given)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"improve.method": "ppo"}, r"improve.method='ppo'.*'expert', 'dpo' or 'grpo'"),
        ({"improve.rewards": "gain"}, "Unknown setting 'improve.rewards'; did you mean --improve.reward"),
        ({"improve.task": "gsm9k"}, "Unknown task 'gsm9k'"),
        ({"student": "embedded/giant"}, "embedded/giant"),
        ({"improve.max_usd": "1"}, "improve.max_usd needs a price for student0 embedded/base: set cost.local_usd_per_hour"),
    ],
)
def test_wrong_settings_are_named(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        improve(config(tmp_path, **overrides))
    assert not (tmp_path / "run").exists()


def test_test_questions_that_the_run_was_trained_on_are_refused(tmp_path):
    lines = [json.dumps({"question": f"Where is {i}?", "answer": "Rome", "id": str(i)}) + "\n" for i in range(9)]
    for name, splits in {
        "own": {"train": lines[:3], "test": lines[3:4]},
        "new": {"train": lines[4:6], "dev": lines[6:8], "test": lines[:1]},
    }.items():
        (tmp_path / name).mkdir()
        for split, found in splits.items():
            (tmp_path / name / f"{split}.jsonl").write_text("".join(found))
    given = {"task": "jsonl", "task.path": str(tmp_path / "own"), "improve.task": "jsonl", "improve.task.path": str(tmp_path / "new")}
    given |= {"data.train": 3, "data.test": 1, "improve.data.train": 2, "improve.data.dev": 2}
    with pytest.raises(ValueError, match=r"1 questions stand both in train and in test, the first: 'Where is 0\?'"):
        improve(load_config(None, {"out": str(tmp_path / "run"), **given}))
    assert not (tmp_path / "run").exists()


def test_a_folder_from_before_a_setting_was_there_goes_on(tmp_path):
    job = ImproveJob(config(tmp_path))
    stands = tomllib.loads(job.config.to_toml()) | {
        "improve": {"method": "expert", "data": {"dev": 3}},
        "round0": "local/student@0123456789ab",
    }
    del stands["screening"]["abstentions"]
    (job.folder / "rounds").mkdir(parents=True)
    (job.folder / "rounds" / "config.toml").write_text(tomli_w.dumps(stands))
    ImproveJob(config(tmp_path))
    with pytest.raises(ValueError, match=r"improve\.samples: 4 there, 5 now"):
        ImproveJob(config(tmp_path, **{"improve.samples": 5}))


def test_rounds_of_another_training_are_moved_aside_and_taken_back(tmp_path, caplog):
    def open_with(student="local/student@0", **changed):
        job = ImproveJob(config(tmp_path, **changed))
        job.roles.model = lambda role: SimpleNamespace(model=student)
        job.begin()
        return sorted(str(path.relative_to(job.folder)) for path in job.folder.rglob("*.jsonl")), job.folder

    folder = tmp_path / "run"
    open_with()
    for name in ("rounds/1/dev.jsonl", "rounds/traces.jsonl", "improve.json", "figures/improve.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    aside = "rounds/earlier/rounds-{}/1/dev.jsonl"
    assert open_with(**{"data.test": 2, "training.threads": 1})[0] == ["rounds/1/dev.jsonl", "rounds/traces.jsonl"]
    assert open_with(**{"training.max_steps": 2})[0] == [aside.format(2), "rounds/traces.jsonl"]
    assert "training.max_steps" in caplog.text and "rounds/earlier/rounds-2" in caplog.text
    assert not (folder / "improve.json").exists() and not list(folder.glob("figures/*"))
    assert open_with()[0] == ["rounds/1/dev.jsonl", "rounds/traces.jsonl"] and (folder / "improve.json").exists()
    assert open_with("local/student@1")[0] == [aside.format(2), "rounds/traces.jsonl"], "of a student that was trained again"
    with pytest.raises(ValueError, match=r"improve\.samples: 4 there, 5 now\n.*--improve\.out"):
        open_with(**{"improve.samples": 5})
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 now"):
        open_with(seed=1)


def test_the_recipe_success_asks_a_strict_solver_on_passages_with_branches(tmp_path):
    job = ImproveJob(load_config("success", {"out": str(tmp_path / "run")}))
    assert job.roles.model("solver").model.startswith("embedded/strict@")
    assert (job.task.branches, job.run.task.branches) == (1, 0)
    assert [len(job.splits[split]) for split in ("train", "dev", "test")] == [100, 100, 100]
    first, also = job.splits["train"][0], job.run.splits["train"][0]
    assert first.question == also.question and len(first.context) > len(also.context)


def test_improvement_reads_only_what_is_there(tmp_path):
    with pytest.raises(ValueError, match=r"no improve\.json"):
        Improvement(tmp_path)
