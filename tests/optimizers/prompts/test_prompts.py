"""`compile_prompts` on a scripted teacher that needs demos or instructions: results, files, limits, faults, and being killed."""

import json
import zlib
from collections import Counter

import dspy
import pytest
from prompted import prompted_lm

from optimizers import RunConfig, compile_prompts, load_config
from optimizers.experiments.roles import Roles
from optimizers.prompts.candidates import Candidate
from optimizers.prompts.compilation import Compilation
from optimizers.prompts.dspy_optimizers import OPTIMIZERS
from optimizers.prompts.plan import compile_steps
from programs import TwoStage
from programs.compiled.state import load_program
from programs.lms.prices import Rates
from programs.tasks.registry import load_task

REWRITING = ("COPRO", "MIPROv2", "GEPA", "SIMBA")
GOLD = {example.question: example for split in ("train", "dev") for example in load_task("multihop").load(split, 60)}


def asked_question(prompt):
    return next((line.removeprefix("Question: ") for line in prompt.splitlines() if line.startswith("Question: ")), None)


def capable(question):
    """The solver cannot do every question, so that scores are neither 0 nor 1."""
    return zlib.crc32(question.encode()) % 10 < 8


def teacher(system, messages):
    """Decomposes once it has seen a demo or is told how, on some questions anyway; solves with subquestions alone."""
    question = asked_question(messages[-1])
    if "Max subquestions" in messages[-1]:
        able = len(messages) > 1 or "Take care" in system or zlib.crc32(question.encode()) % 10 < 4
        return "\n".join(GOLD[question].subquestions) if able else "I would rather not."
    gold = GOLD[question]
    able = "Subquestions:" in messages[-1] and capable(question)
    return "\n".join([*gold.sub_answers, f"Answer: {gold.answer}"]) if able else "nobody\nAnswer: nobody"


def writer(system, messages):
    """Writes one good instruction in whatever form DSPy asks for it."""
    last = messages[-1]
    if "new_instruction" in system + last:
        return json.dumps({"new_instruction": "Take care. Write subquestions."})
    if "module_advice" in system + last:
        return '[[ ## discussion ## ]]\nx\n\n[[ ## module_advice ## ]]\n{"decompose": "Take care."}\n\n[[ ## completed ## ]]'
    names = [name for name in system.split("`") if name.isidentifier()]
    fields = list(dict.fromkeys(names[names.index(next(n for n in names if f"[[ ## {n} ## ]]" in last)) :])) if names else []
    wanted = [name for name in fields if f"`[[ ## {name} ## ]]`" in last]
    return "\n\n".join([*(f"[[ ## {name} ## ]]\nTake care." for name in wanted), "[[ ## completed ## ]]"])


@pytest.fixture
def lms(monkeypatch):
    """The LMs that a compilation makes, by model string, answering by `teacher` and `writer`."""
    made = {}
    rules = {"openai/teacher": teacher, "openai/writer": writer}

    def make(model, **options):
        made[model] = made.get(model) or prompted_lm(rules[model], model)
        return made[model]

    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setattr("optimizers.prompts.compilation.make_lm", make)
    monkeypatch.setattr("optimizers.experiments.roles.make_lm", lambda model, **options: make(model) if model in rules else dspy.LM(model))
    make.rules = rules
    make.made = made
    return make


def config(out, optimizer="BootstrapFewShot", **settings):
    chosen = {"compile.optimizer": optimizer, "compile.prompt_model": "openai/writer", "out": str(out), "compile.threads": "4"}
    sizes = {"compile.train": "16", "compile.validation": "10", "compile.dev": "20"}
    return load_config(None, {"teacher": "openai/teacher", **chosen, **sizes, **settings})


def calls(lms):
    return sum(len(lm.script.prompts) for lm in lms.made.values())


def journal_keys(folder):
    return Counter(json.loads(line)["key"] for line in (folder / "traces.jsonl").open())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_compiles_within_its_plan_and_its_program_saves_and_loads(name, lms, tmp_path, capsys):
    settings = {"compile.settings.bsize": "8"} if name == "SIMBA" else {}
    settings |= {"compile.settings.max_metric_calls": "60"} if name == "GEPA" else {}
    job = Compilation(config(tmp_path / "out", name, **settings))
    compiled = compile_prompts(job.config)
    assert compiled.incomplete is None, compiled.incomplete
    printed, shown = capsys.readouterr()
    assert printed == "" and f"compile {name}" in shown and "it/s" not in shown and "dspy" not in shown
    base = compiled.candidates[0]
    assert compiled.found in compiled.candidates
    assert compiled.best is not base and compiled.dev.delta > 0 and compiled.dev.n == 20
    assert calls(lms) <= sum(step.calls for step in compile_steps(job))
    assert max(journal_keys(tmp_path / "out").values()) == 1
    saved = (tmp_path / "out" / "program.json").read_text()
    assert "secret" not in saved and json.loads(saved)["compiled"]["optimizer"] == name
    loaded = load_program(tmp_path / "out", lms.made["openai/teacher"], max_subquestions=4, decomposer_sees_context=False)
    dev = load_task("multihop").load("dev", 20)
    answers = {example.id: float(loaded(question=example.question, context=example.context).answer == example.answer) for example in dev}
    assert answers == compiled.best.scores["dev"]


def test_the_table_shows_every_candidate_with_score_interval_and_cost(lms, tmp_path):
    compiled = compile_prompts(config(tmp_path / "out", "COPRO", **{"compile.stages": "decompose"}))
    report = json.loads((tmp_path / "out" / "compiled.json").read_text())
    assert len(report["candidates"]) == len(compiled.candidates) >= 2
    for candidate in report["candidates"]:
        low, high = candidate["validation"]["ci95"]
        assert low <= candidate["validation"]["score"] <= high and candidate["validation"]["n"] == 10
        assert candidate["usage"]["input_tokens"] > 0
        assert set(candidate["prompts"]) == {"decompose"}
    text = (tmp_path / "out" / "compiled.md").read_text()
    assert "95 % interval" in text and "paired difference" in text and "Take care." in text
    state = json.loads((tmp_path / "out" / "program.json").read_text())
    assert state["solve"]["signature"]["instructions"] == TwoStage().solve.signature.instructions


@pytest.mark.parametrize("name", ["BootstrapFewShotWithRandomSearch", "GEPA", "MIPROv2"])
def test_a_spent_budget_returns_the_best_so_far_marked_incomplete(name, lms, tmp_path):
    settings = {"compile.max_calls": "150"}
    compiled = compile_prompts(config(tmp_path / "out", name, **settings))
    assert "limit of" in compiled.incomplete and not compiled.failed
    assert calls(lms) <= 150
    state = json.loads((tmp_path / "out" / "program.json").read_text())
    assert "limit of" in state["compiled"]["incomplete"]
    assert compiled.best.interval().estimate >= compiled.candidates[0].interval().estimate
    before = calls(lms)
    again = compile_prompts(config(tmp_path / "out", name, **{"compile.max_calls": "5000"}))
    assert again.incomplete is None and calls(lms) > before
    assert max(journal_keys(tmp_path / "out").values()) == 1


def test_a_budget_in_dollars_ends_it_too(lms, tmp_path, monkeypatch):
    monkeypatch.setattr("programs.lms.prices.Prices.rates", lambda self, model, *_: Rates(1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    whole = compile_prompts(config(tmp_path / "whole", "BootstrapFewShotWithRandomSearch"))
    some = compile_prompts(config(tmp_path / "some", "BootstrapFewShotWithRandomSearch", **{"compile.max_usd": str(whole.paid.usd * 0.7)}))
    assert "dollars" in some.incomplete and some.paid.usd < whole.paid.usd * 0.8


@pytest.mark.parametrize("name", ["MIPROv2", "SIMBA"])
def test_a_compilation_killed_in_the_middle_ends_like_a_whole_one_and_repeats_no_call(name, lms, tmp_path):
    settings = {"compile.settings.bsize": "8"} if name == "SIMBA" else {}
    whole = compile_prompts(config(tmp_path / "whole", name, **settings))
    total = calls(lms)

    class Killed(BaseException):
        """What SIGKILL leaves behind: a journal, and nothing that was closed."""

    usual = lms.rules["openai/teacher"]
    for stop in (total // 3, total // 2):
        count = iter(range(stop))

        def dying(system, messages, count=count):
            if next(count, None) is None:
                raise Killed
            return usual(system, messages)

        lms.made["openai/teacher"].script.whole = dying
        with pytest.raises(Killed):
            compile_prompts(config(tmp_path / "killed", name, **settings))
    lms.made["openai/teacher"].script.whole = usual
    again = compile_prompts(config(tmp_path / "killed", name, **settings))
    assert again.best.key == whole.best.key and again.best.scores == whole.best.scores
    answered = [json.loads(line) for line in (tmp_path / "killed" / "traces.jsonl").open()]
    assert max(Counter(line["key"] for line in answered if "error" not in line).values()) == 1
    assert {line["key"] for line in answered} == set(journal_keys(tmp_path / "whole"))


def test_a_metric_that_raises_counts_as_failed_and_is_shown(lms, tmp_path, monkeypatch):
    usual = type(load_task("multihop")).score

    def raising(self, example, prediction):
        if zlib.crc32(example.question.encode()) % 5 == 0:
            raise KeyError("no such reference")
        return usual(self, example, prediction)

    monkeypatch.setattr(type(load_task("multihop")), "score", raising)
    compiled = compile_prompts(config(tmp_path / "out", "BootstrapFewShotWithRandomSearch", **{"compile.validation": "20"}))
    assert compiled.incomplete is None
    failures = compiled.best.failures
    assert failures and all(why.startswith("metric: KeyError") for why in failures.values())
    assert "no such reference" in (tmp_path / "out" / "compiled.md").read_text()
    assert any(compiled.best.scores["validation"].get(question) == 0.0 for question in failures)


def test_a_prompt_model_that_cannot_write_leaves_the_best_so_far(lms, tmp_path):
    lms.rules["openai/writer"] = lambda system, messages: "gibberish"
    compiled = compile_prompts(config(tmp_path / "out", "COPRO"))
    assert compiled.failed and "COPRO failed: AdapterParseError" in compiled.incomplete
    assert compiled.best is compiled.candidates[0]
    assert json.loads((tmp_path / "out" / "program.json").read_text())["compiled"]["incomplete"] == compiled.incomplete


def test_an_interrupt_saves_the_best_so_far(lms, tmp_path):
    compile_prompts(config(tmp_path / "whole", "BootstrapFewShotWithRandomSearch"))
    usual, left = lms.rules["openai/teacher"], iter(range(calls(lms) * 2 // 3))

    def interrupted(system, messages):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return usual(system, messages)

    lms.made["openai/teacher"].script.whole = interrupted
    with pytest.raises(KeyboardInterrupt):
        compile_prompts(config(tmp_path / "out", "BootstrapFewShotWithRandomSearch"))
    assert json.loads((tmp_path / "out" / "program.json").read_text())["compiled"]["incomplete"] == "interrupted"


def test_a_teacher_that_fails_is_said_before_the_optimizer_starts(lms, tmp_path):
    lms.rules["openai/teacher"] = lambda system, messages: dspy.lm15.ServerError("down")
    with pytest.raises(RuntimeError, match="10 of 10 questions failed with the uncompiled program"):
        compile_prompts(config(tmp_path / "out"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile.optimizer": "Copro"}, r"Unknown compile.optimizer 'Copro'; expected one of \['BootstrapFewShot'"),
        ({"compile.settings.breadth": "3"}, r"BootstrapFewShot has no setting 'breadth'.*max_bootstrapped_demos"),
        ({"compile.stages": "decompose,answer"}, r"compile.stages=\['decompose', 'answer'\] must name some of"),
        ({"compile.max_calls": "100"}, "100 leaves nothing to the optimizer: 100 calls"),
        ({"compile.max_usd": "1"}, "needs a price for openai/teacher"),
        ({"compile.optimizer": "SIMBA"}, "bsize=16 is more than compile.train=12"),
        ({"compile.optimizer": "COPRO", "teacher.adapter": "line-terse"}, "shows none, so that nothing would change"),
        ({"teacher.program": "/nowhere/program.json"}, "No compiled program in '/nowhere/program.json'"),
        ({"compile.optimizer": "COPRO", "compile.settings.breadth": "1"}, "COPRO takes a number from 2"),
    ],
)
def test_what_cannot_work_is_said(settings, message, lms, tmp_path):
    with pytest.raises(ValueError, match=message):
        compile_prompts(config(tmp_path / "out", **{"compile.train": "12", **settings}))


def test_a_folder_is_not_compiled_over_with_other_settings(lms, tmp_path):
    compile_prompts(config(tmp_path / "out", "LabeledFewShot"))
    with pytest.raises(ValueError, match=r"compile.settings.k: None there, 2 now"):
        compile_prompts(config(tmp_path / "out", "LabeledFewShot", **{"compile.settings.k": "2"}))
    for reached in ({"compile.prompt_model.requests_per_minute": "50"}, {"teacher.timeout": "9", "compile.threads": "2"}):
        assert compile_prompts(config(tmp_path / "out", "LabeledFewShot", **reached)).incomplete is None


def test_the_same_seed_gives_the_same_program_and_another_one_another(lms, tmp_path):
    keys = [
        compile_prompts(config(tmp_path / str(n), "LabeledFewShot", **{"seed": seed, "task.seed": "0"})).best.key
        for n, seed in enumerate("001")
    ]
    assert keys[0] == keys[1] != keys[2]


def test_labelling_uses_the_compiled_teacher_and_no_student_row_has_its_prompts(lms, tmp_path):
    from optimizers.experiments.distillation import Distillation
    from optimizers.experiments.setup import Setup
    from optimizers.settings.splits import load_splits

    compile_prompts(config(tmp_path / "compiled", "LabeledFewShot", **{"compile.settings.k": "2"}))
    program = str(tmp_path / "compiled" / "program.json")
    settings = {"teacher": "openai/teacher", "student": "embedded/base", "teacher.program": program, "data.train": "12"}
    run = load_config(None, {**settings, "out": str(tmp_path / "run"), "screening.min_rows": "1"})
    task = load_task("multihop")
    roles = Roles(run, tmp_path / "run" / "student")
    roles._models["teacher"] = lms.made["openai/teacher"]
    job = Distillation(Setup(run, task, load_splits(task, run.data), roles), labels=tmp_path / "run", students=["S_D-R"])
    job.label()
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").open()]
    assert all(sample["prediction"]["state"] == "ok" for sample in samples)
    rows = job.screen()["S_D-R"].rows["decompose"]
    assert rows and all([message["role"] for message in row["messages"]] == ["system", "user", "assistant"] for row in rows)


def test_a_run_says_when_the_compiled_program_has_changed(lms, tmp_path):
    from optimizers.experiments.run_folder import open_folder

    compile_prompts(config(tmp_path / "compiled", "LabeledFewShot"))
    run = RunConfig.model_validate({"out": str(tmp_path / "run"), "teacher": {"model": "m", "program": str(tmp_path / "compiled")}})
    open_folder(run)
    open_folder(run)
    changed = json.loads((tmp_path / "compiled" / "program.json").read_text())
    changed["decompose"]["demos"] = []
    (tmp_path / "compiled" / "program.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="made with other prompts"):
        open_folder(run)


def test_a_candidates_interval_takes_questions_on_one_passage_together():
    scores = {f"{passage}.{number}": float(passage % 2) for passage in range(8) for number in range(5)}
    alone = Candidate("k", 0, {}, {"validation": scores}).interval()
    shared = Candidate("k", 0, {}, {"validation": scores}, passages={one: one.split(".")[0] for one in scores}).interval()
    assert alone.estimate == shared.estimate == 0.5
    assert shared.high - shared.low > 1.5 * (alone.high - alone.low)


WRITERS = [
    ({"teacher": "embedded/teacher", "teacher.temperature": 0, "teacher.max_tokens": 100}, (1.0, 1024)),
    ({"teacher": "embedded/teacher"}, (1.0, 1024)),
    ({"teacher": "openai/gpt-4.1-mini", "teacher.temperature": 0}, (1.0, None)),
    ({"teacher": "openai/gpt-4.1-mini", "teacher.max_tokens": 4000}, (1.0, 4000)),
    ({"compile.prompt_model": "openai/gpt-4.1"}, (1.0, None)),
    ({"compile.prompt_model": "openai/gpt-4.1", "compile.prompt_model.temperature": 0, "compile.prompt_model.max_tokens": 50}, (0, 50)),
]


@pytest.mark.parametrize(("settings", "written_at"), WRITERS)
def test_prompts_are_written_at_a_temperature_and_with_room(tmp_path, monkeypatch, settings, written_at):
    """At 0 a small LM proposes the instruction that it is shown, 38 times of 38."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    options = {"compile.optimizer": "GEPA", "teacher.adapter": "line", "compile.train": 2, "compile.validation": 2, "compile.dev": 0}
    found = Compilation(load_config(None, {**options, "out": tmp_path / "c", **settings}))
    assert (found.prompt_model.temperature, found.prompt_model.max_tokens) == written_at
    assert found.lms["compile.prompt_model"].kwargs["temperature"] == written_at[0]
    assert found.config.teacher.temperature == settings.get("teacher.temperature")
