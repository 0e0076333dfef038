"""Studies on a tiny random model and labels that stand: spaces, storage, kills, retries, budgets, pruning, what is left behind."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from command_line import command, finish
from optuna_dashboard import wsgi
from postgres_server import programs, serving_postgres
from scripted import two_stage_rule

from optimizers import RunConfig, StudyResult, load_config, run, study
from optimizers.finetune.train import TrainingError
from optimizers.studies.plan import study_plan
from optimizers.studies.search_space import Space
from optimizers.studies.storage import DIED, KIND, RETRY_OF, open_storage, open_study, pruner, sampler
from optimizers.studies.study import StudyJob, study_toml
from programs.lms import artifacts
from programs.tasks.registry import task_class

LR = {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
SPACE = {**LR, "training.lora_rank": {"choices": [2, 4]}}
SMALL = {
    "task": {"name": "multihop", "schema": "people", "hops": "2"},
    "teacher": {"model": "openai/scripted", "adapter": "line"},
    "student": {"max_tokens": 4},
    "data": {"train": 12, "dev": 4, "test": 4},
    "screening": {"min_rows": 2},
    "training": {"max_steps": 2, "batch_size": 2, "lora_rank": 4, "warmup_steps": 0, "max_length": 256, "threads": 1},
    "evaluation": {"threads": 4},
}


class _Teacher(BaseHTTPRequestHandler):
    """An OpenAI-compatible teacher with two replies."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        message = {"role": "assistant", "content": two_stage_rule(asked)}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "scripted",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}  # fmt: skip
        reply = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def labels(tiny, tmp_path_factory):
    """Teacher traces that the studies below share, made once by a teacher behind an API; it is gone when the studies start."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Teacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    SMALL["teacher"]["api_base"] = f"http://127.0.0.1:{server.server_port}/v1"
    folder = tmp_path_factory.mktemp("labels")
    job = StudyJob(settings(f"local/{tiny.folder}", folder, trials=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        job.label()
    server.shutdown()
    server.server_close()
    return folder / "labels"


@pytest.fixture
def quick(tiny, monkeypatch):
    """Publishes the untrained model in a training's place, for what is not about training; lists what it was asked for."""
    asked = []

    def train(rows, spec, target, *, name, cancelled, **options):
        asked.append(spec)
        source = target.with_name("source")
        shutil.copytree(tiny.folder, source, ignore=shutil.ignore_patterns("manifest.json"))
        lines = [{"step": step, "steps": 2, "seconds": 0.5 * step, "loss": 1.0, "eval_loss": 1.0} for step in (1, 2)]
        (source / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        metrics = {"seconds": 1.0 + len(asked), "rows": len(rows)}
        return artifacts.publish(
            source, target, name=name, adapter="line-terse", base="tiny", metrics=metrics, training={"save_steps": spec.save_steps}
        )

    monkeypatch.setattr("optimizers.studies.trial.train", train)
    return asked


def settings(model, out, space=SPACE, **wanted):
    """A configuration whose solver is the tiny model too, so that a trial takes seconds."""
    student = {**SMALL["student"], "model": model}
    solver = {"model": model, "max_tokens": 8, "adapter": "line-terse"}
    options = {"space": space, "student": "S_D-T", "pruner": "none", "loss_checks": 2, **wanted}
    return RunConfig.model_validate({**SMALL, "student": student, "solver": solver, "out": str(out), "study": options})


@pytest.fixture
def prepared(labels, tiny_model, tmp_path):
    """Makes a configuration in a folder of the test's own, with the labels in place."""

    def make(space=SPACE, **wanted):
        folder = tmp_path / "s"
        if not folder.exists():
            shutil.copytree(labels, folder / "labels")
        return settings(tiny_model, folder, space, **wanted)

    return make


def states(result):
    return [trial["state"] for trial in result.trials]


@pytest.mark.slow
def test_a_study_from_labels_to_a_config_that_run_takes(prepared):
    config = prepared(trials=3)
    traces = os.path.getsize(f"{config.out}/labels/traces.jsonl")
    result = study(config)
    assert states(result) == ["complete"] * 3 and result.complete
    first, best = result.trials[0], result.best
    assert first["params"] == {"training.learning_rate": 1e-3, "training.lora_rank": 4} and first["recipe"]
    assert len({(trial["sampler_seed"], trial["training_seed"]) for trial in result.trials}) == 3
    assert best["ci95"][0] <= best["score"] <= best["ci95"][1]
    assert result.found["against_recipe"]["n"] == 4
    assert os.path.getsize(f"{config.out}/labels/traces.jsonl") == traces

    kept = [trial for trial in result.trials if (result.folder / trial["folder"] / "student").exists()]
    assert [trial["number"] for trial in kept] == [best["number"]]
    for trial in result.trials:
        assert (result.folder / trial["folder"] / "predictions.jsonl").exists()
    loser = next(trial for trial in result.trials if trial["number"] != best["number"])
    assert "eval_loss" in (result.folder / loser["folder"] / "progress.jsonl").read_text()
    assert artifacts.find(best["model"]).folder.is_relative_to(result.folder.resolve() / best["folder"])

    config = load_config(str(result.best_config))
    assert config.training.learning_rate == best["params"]["training.learning_rate"]
    trained = run(config, stages=("label", "screen", "distill"))
    assert artifacts.open_artifact(trained.folder / "student" / "S_D-T").model_string == best["model"]
    assert os.path.getsize(trained.folder / "traces.jsonl") == traces
    markdown = (result.folder / "study.md").read_text()
    assert "Against the recipe as it stands (trial 0), paired on 4 dev questions" in markdown and "95 % interval" in markdown
    assert (result.folder / "study.png").read_bytes().startswith(b"\x89PNG")


def test_optunas_own_plots_and_a_second_call_with_more_trials(prepared, quick):
    before = study(prepared(trials=2))
    result = study(prepared(trials=4))
    assert len(result.trials) == 4
    assert result.trials[:2] == [{**trial, "model": trial["model"]} for trial in before.trials]
    plots = optuna.visualization.matplotlib
    for plot in (plots.plot_optimization_history, plots.plot_param_importances, plots.plot_timeline, plots.plot_slice,
                 plots.plot_intermediate_values, plots.plot_parallel_coordinate):  # fmt: skip
        assert plot(result.study()) is not None


@pytest.mark.parametrize("choice", [{"pruner": "both"}, {"sampler": "gp"}])
def test_nothing_is_said_of_experimental_parts_of_optuna(choice, recwarn):
    config = settings("tiny", "out", **choice)
    assert isinstance(pruner(config), optuna.pruners.BasePruner)
    assert isinstance(sampler(config, 0), optuna.samplers.BaseSampler)
    assert not recwarn.list


def test_optuna_dashboard_shows_the_study(prepared, quick):
    found = study(prepared(trials=2)).study()
    request, answered = {"PATH_INFO": "/api/studies/0"}, []
    setup_testing_defaults(request)
    body = b"".join(wsgi(found._storage)(request, lambda status, headers, error=None: answered.append(status)))
    shown = json.loads(body)
    assert answered == ["200 OK"]
    assert [trial["state"] for trial in shown["trials"]] == ["Complete"] * 2
    assert {found["name"] for found in shown["union_search_space"]} == set(SPACE)


def test_a_study_of_that_name_with_other_dimensions_or_data_is_refused_with_the_difference(prepared, quick):
    study(prepared(trials=1))
    other = {**SPACE, "training.lora_rank": {"choices": [4, 8]}, "training.epochs": {"low": 1, "high": 4, "step": 1}}
    with pytest.raises(ValueError, match=r"'s?t?udy' exists with another definition(.|\n)*dimension training.epochs: none there(.|\n)*"
                                         r"dimension training.lora_rank: \{'choices': \[2, 4\]\} there, \{'choices': \[4, 8\]\} now(.|\n)*"
                                         r"--study.name study-2"):  # fmt: skip
        study(prepared(other))
    config = prepared(trials=1)
    with pytest.raises(ValueError, match=r"data\.dev: 4 there, 3 now"):
        study(config.model_copy(update={"data": config.data.model_copy(update={"dev": 3})}))
    with pytest.raises(ValueError, match=r"study\.objective: 'score' there, 'score,cost' now"):
        study(prepared(objective="score,cost"))
    assert len(study(prepared(other, trials=1, name="another")).trials) == 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"training.learning_rat": {"low": 0.1, "high": 1}},
            r"unknown setting 'training.learning_rat'; did you mean 'training.learning_rate'",
        ),
        ({"training.learning_rate": {"low": 1e-2, "high": 1e-3}}, r"the range of training.learning_rate is empty: low = 0.01"),
        ({"training.learning_rate": {"low": 0, "high": 1, "log": True}}, r"training.learning_rate has a log scale through zero: low = 0"),
        ({"training.weight_decay": {"low": -0.1, "high": 1}}, r"training.weight_decay cannot be -0.1"),
        ({"training.lora_rank": {"low": 1.5, "high": 4}}, r"training.lora_rank takes whole numbers"),
        ({"training.lora_rank": {"choices": [4, "many"]}}, r"training.lora_rank cannot be 'many'"),
        ({"training.lora_rank": {"choices": [4, 8, 4]}}, r"training.lora_rank has the choice 4 twice"),
        ({"training.lora_rank": {"choices": []}}, r"training.lora_rank has no choices"),
        ({"training.lora_rank": {"chioces": [4]}}, r"training.lora_rank.chioces"),
        ({"training.lora_targets": {"low": 1, "high": 2}}, r"training.lora_targets takes no number"),
        ({"training.lora_rank": {"low": 4, "high": 8, "step": 9}}, r"step = 9 must be above 0, at most high - low = 4"),
        ({"training.lora_rank": {"choices": [8, 16]}}, r"training.lora_rank is 4 in the configuration, which is not in its dimension"),
        ({"student.model": {"choices": ["local/no/such"]}}, r"student.model"),
        ({"study.student": {"choices": ["S_D-T", "S_E-T"]}}, r"study.student cannot be 'S_E-T'; expected some of \['S_D-T', 'S_D-R'\]"),
        ({"data.dev": {"low": 4, "high": 8}}, r"data.dev cannot be searched: it decides which questions are asked"),
        ({"labelling.temperature": {"low": 0.0, "high": 1.0}}, r"labelling.temperature changes what is asked for labels"),
        ({}, r"at least one dimension"),
    ],
)
def test_a_space_that_cannot_work_is_refused_before_any_work(space, message, tiny_model, tmp_path):
    config = settings(tiny_model, tmp_path / "s", space)
    with pytest.raises(ValueError, match=message):
        study(config)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"study": {"objective": "score,cost", "pruner": "median"}}, "Optuna cannot prune those"),
        ({"data": {"dev": 0}}, "data.dev is 0"),
        ({"study": {"max_usd": 1.0}}, "study.max_usd needs a price for student0"),
        ({"study": {"student": "S_E-T"}}, r"study.student='S_E-T' cannot be studied; expected one of \['S_D-T', 'S_D-R'\]"),
        ({"study": {"storage": "mysterysql://x"}}, "cannot be opened"),
    ],
)
def test_settings_that_cannot_work_are_refused(wanted, message, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    given = settings(tiny_model, tmp_path / "s").model_dump(exclude_none=True, exclude={"training": {"base"}})
    for section, values in wanted.items():
        given[section] |= values
    with pytest.raises(ValueError, match=message):
        study(given)


def test_dimensions_from_the_command_line_and_unquoted_tables():
    text = "{ low = 1e-4, high = 1e-2, log = true }"
    config = load_config(None, {"study.space.training.learning_rate": text, "study.space.student": '{choices = ["embedded/base"]}'})
    space = Space(config)
    assert [str(dimension) for dimension in space.dimensions] == ["0.0001 to 0.01, log", "one of embedded/base"]
    assert space.apply({"student.model": "hf/a/b"}).student.model == "hf/a/b"


@pytest.mark.parametrize(("objective", "names"), [("score", ["dev score"]), ("score,cost", ["dev score", "cost"])])
def test_a_dashboard_is_told_what_the_objectives_are(prepared, objective, names):
    config = prepared(objective=objective, pruner=None)
    assert open_study(config, Space(config)).metric_names == names


def test_a_plan_does_nothing(prepared, tmp_path):
    from rich.console import Console

    config = prepared(trials=7, workers=2)
    shutil.rmtree(config.out)
    console = Console(width=140, record=True)
    console.print(study_plan(config))
    shown = console.export_text()
    assert "7 trials of 12 training and 4 dev questions" in shown and "0.0001 to 0.01, log" in shown and "without pruning" in shown
    assert not (tmp_path / "s").exists()


def test_labels_cover_the_largest_trial_and_every_teacher(tiny_model, tmp_path):
    space = {
        "labelling.samples": {"choices": [1, 4]},
        "data.train": {"low": 6, "high": 12, "step": 6},
        "labelling.temperature": {"choices": [0.5, 0.7]},
    }
    config = settings(tiny_model, tmp_path / "s", space)
    config = config.model_copy(update={"labelling": config.labelling.model_copy(update={"temperature": 0.7})})
    found = [(c.labelling.samples, c.data.train, c.labelling.temperature) for c in Space(config).label_configs()]
    assert found == [(4, 12, 0.5), (4, 12, 0.7)]


def test_a_trial_that_dies_is_retried_once_and_says_why(prepared, monkeypatch):
    """Training that always fails: twice tried, and the study goes on to the end."""
    calls = []

    def broken(rows, spec, *args, **options):
        calls.append(spec.learning_rate)
        raise TrainingError("the disk is full")

    monkeypatch.setattr("optimizers.studies.trial.train", broken)
    result = study(prepared(trials=2))
    assert states(result) == ["fail"] * 4
    assert result.best is None and result.complete
    assert [calls.count(rate) for rate in dict.fromkeys(calls)] == [2, 2]
    assert [trial["retry_of"] for trial in result.trials].count(None) == 2
    assert "TrainingError: the disk is full (retry of 0)" in (result.folder / "study.md").read_text()
    assert "No trial has a score." in (result.folder / "study.md").read_text()


def test_a_metric_that_raises_counts_as_wrong_and_is_shown(prepared, quick, monkeypatch):
    def raising(self, example, prediction):
        raise KeyError("no unit")

    monkeypatch.setattr(task_class("multihop"), "score", raising)
    result = study(prepared(trials=1))
    assert states(result) == ["complete"] and result.best["score"] == 0
    assert len(result.best["metric_errors"]) == 4
    assert "the metric raised KeyError: 'no unit'" in (result.folder / "study.md").read_text()


def test_the_same_parameters_are_trained_once(prepared, quick):
    result = study(prepared({"training.lora_rank": {"choices": [4, 2]}}, trials=5))
    assert states(result) == ["complete"] * 5
    assert len(quick) == len({trial["params"]["training.lora_rank"] for trial in result.trials}) == 2


def test_trials_of_dead_workers_are_taken_up(prepared, quick):
    """One worker of this machine whose process is gone, one elsewhere that has stopped to give signs of life."""
    config = prepared(trials=3, lease_seconds=1)
    space = Space(config)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    opened = open_study(config, space)
    for lease in ([platform.node(), int(gone.stdout), 3], ["elsewhere", 1, 5]):
        opened.ask(space.distributions).set_user_attr("lease", lease)
    result = study(config)
    assert sorted(states(result)) == ["complete"] * 3 + ["fail"] * 2 and result.complete
    lost, taken = result.trials[:2], {trial["retry_of"]: trial for trial in result.trials}
    assert all(trial["kind"] == DIED and taken[trial["number"]]["params"] == trial["params"] for trial in lost)
    assert taken[0]["recipe"]


def test_a_spent_budget_returns_the_best_so_far(prepared, quick):
    config = prepared(trials=50, max_usd=1e-9)
    config = config.model_copy(update={"cost": config.cost.model_copy(update={"local_usd_per_hour": 1.0})})
    result = study(config)
    assert len(result.trials) == 1 and result.best and not result.complete
    assert "study.max_usd=1e-09 is spent" in result.found["incomplete"]
    assert "\n> Incomplete: " in (result.folder / "study.md").read_text()
    assert load_config(str(result.best_config)).out
    more = study(config.model_copy(update={"study": config.study.model_copy(update={"max_usd": None, "trials": 2})}))
    assert len(more.trials) == 2 and more.complete


@pytest.mark.slow
def test_time_that_is_over_in_the_middle_of_a_training_loses_none_of_it(prepared):
    config = prepared(trials=2)
    # The time has to end after the trainer's start, which takes a busy machine long, and before the training's end.
    slow = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 4000})})
    result = study(slow.model_copy(update={"study": slow.study.model_copy(update={"max_minutes": 0.5})}))
    assert states(result) == ["fail"] and not result.complete
    assert result.trials[0]["kind"] == "interrupted"
    work = next((result.folder / "trials").glob("*/student/*.work"))
    reached = json.loads((work / "progress.jsonl").read_text().splitlines()[-1])["step"]
    assert list(work.glob("checkpoints/checkpoint-*")) and reached > 1
    again = study(slow.model_copy(update={"study": slow.study.model_copy(update={"max_minutes": 0.1})}))
    assert again.trials[1]["retry_of"] == 0
    steps = [json.loads(line)["step"] for line in (work / "progress.jsonl").read_text().splitlines()]
    assert steps.count(1) == 1 and steps[-1] >= reached


def test_score_and_cost_make_a_pareto_front_and_all_of_it_is_kept(prepared, quick):
    result = study(prepared(trials=3, objective="score,cost", pruner=None))
    front = result.found["best"]
    assert front and all(trial["cost"] > 0 for trial in result.trials) and result.found["cost_in"] == "seconds"
    kept = {trial["number"] for trial in result.trials if (result.folder / trial["folder"] / "student").exists()}
    assert kept == set(front)
    assert "cost (seconds)" in (result.folder / "study.md").read_text()


@pytest.mark.slow
def test_median_pruning_stops_a_training_and_removes_its_work(prepared):
    """A rate that moves no weight: at the first look its dev loss is above that of the trial that learned, in any arithmetic."""
    learns, stays = 1e-3, 1e-9
    space = {"training.learning_rate": {"choices": [learns, stays]}}
    config = prepared(space, trials=8, pruner="median", pruner_startup_trials=1, pruner_percentile=50.0, loss_checks=4)
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 40})})
    result = study(config)
    by_rate = {trial["params"]["training.learning_rate"]: trial for trial in result.trials}
    assert by_rate[stays]["state"] == "pruned" and by_rate[stays]["reason"] == "dev loss above percentile 50 of the trials before"
    assert by_rate[learns]["state"] == "complete"
    assert not (result.folder / by_rate[stays]["folder"] / "student").exists()
    steps = json.loads((result.folder / by_rate[stays]["folder"] / "progress.json").read_text())["steps"]
    assert 10 <= steps[-1]["step"] < 40


def test_wilcoxon_pruning_looks_at_questions_alone():
    from optimizers.settings.study import StudyConfig
    from optimizers.studies.pruner import StagedPruner
    from optimizers.studies.trial import QUESTION_STEPS

    staged = StagedPruner(StudyConfig(pruner="both", batch=4, pruner_startup_trials=1))
    trials = optuna.create_study(direction="maximize", pruner=staged)

    def made(loss, scores):
        trial = trials.ask()
        trial.report(-loss, 1)
        for number, score in enumerate(scores):
            trial.report(score, QUESTION_STEPS + number)
        return trial

    trials.tell(made(0.1, [1.0] * 12), 1.0)
    assert made(50.0, [1.0] * 8).should_prune() is False
    assert made(0.01, [0.0] * 8).should_prune() is True
    assert made(0.01, [0.0] * 3).should_prune() is False
    assert made(50.0, []).should_prune() is True


@pytest.mark.parametrize(("percentile", "startup", "stopped"), [(50.0, 2, False), (25.0, 2, True), (25.0, 4, False)])
def test_how_many_trainings_go_on_and_from_when_is_a_setting(percentile, startup, stopped):
    from optimizers.settings.study import StudyConfig
    from optimizers.studies.pruner import StagedPruner

    settings = StudyConfig(pruner="median", pruner_percentile=percentile, pruner_startup_trials=startup)
    trials = optuna.create_study(direction="maximize", pruner=StagedPruner(settings))

    def made(loss):
        trial = trials.ask()
        trial.report(-loss, 1)
        return trial

    for loss in (0.1, 0.2, 0.3):
        trials.tell(made(loss), 1.0)
    assert made(0.18).should_prune() is stopped


@pytest.mark.slow
def test_two_workers_share_the_trials_and_a_database_does_too(prepared, tmp_path):
    result = study(prepared(trials=4, workers=2, storage=f"sqlite:///{tmp_path / 'study.db'}"))
    assert states(result) == ["complete"] * 4
    workers = {tuple(trial.user_attrs["lease"][:2]) for trial in result.study().trials}
    assert len(workers) == 2
    kept = [trial["number"] for trial in result.trials if (result.folder / trial["folder"] / "student").exists()]
    assert kept == [result.best["number"]]


def started(config, tmp_path, name="config.toml"):
    path = tmp_path / name
    path.write_text(study_toml(config))
    return command("study", "@", str(path))


def trial_states(config):
    storage = open_storage(config)
    return [(trial.state.name, dict(trial.user_attrs)) for trial in optuna.load_study(study_name="study", storage=storage).trials]


def until(condition, process, seconds=400):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        try:
            if condition():
                return
        except (KeyError, FileNotFoundError):
            pass
        time.sleep(0.1)
    raise AssertionError("did not happen in time")


@pytest.mark.slow
def test_sigkill_of_a_study_loses_no_finished_trial(prepared, tmp_path):
    config = prepared(trials=3)
    process = started(config, tmp_path)

    def at_the_second():
        found = trial_states(config)
        # Its folder is noted once its parameters are drawn.
        return [state for state, _ in found][:2] == ["COMPLETE", "RUNNING"] and "folder" in found[1][1]

    until(at_the_second, process)
    finished = trial_states(config)[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finish(started(config, tmp_path))
    result = StudyResult(config.out)
    after = trial_states(config)
    assert after[0] == finished
    assert states(result) == ["complete", "fail", "complete", "complete"] and result.complete
    assert result.trials[1]["kind"] == DIED
    retry = next(trial for trial in result.trials if trial["retry_of"] == 1)
    assert retry["params"] == result.trials[1]["params"]


@pytest.mark.slow
def test_a_killed_workers_trial_is_taken_up_by_the_other_and_continues(prepared, tmp_path):
    """Two workers, one killed while it trains: the other makes all trials, that one from its checkpoint."""
    config = prepared(trials=3, workers=2, loss_checks=50)
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 150})})
    process = started(config, tmp_path)

    def training():
        found = [attrs for state, attrs in trial_states(config) if state == "RUNNING" and "folder" in attrs]
        deep = [a for a in found if list((tmp_path / "s" / a["folder"]).glob("student/*.work/checkpoints/checkpoint-*/trainer_state.json"))]
        return deep[0] if len(found) == 2 and deep else None

    until(training, process)
    victim = training()
    os.kill(victim["lease"][1], signal.SIGKILL)
    finish(process)
    found = trial_states(config)
    lost = next(number for number, (state, _) in enumerate(found) if state == "FAIL")
    assert found[lost][1][KIND] == DIED
    taken = next(attrs for _, attrs in found if attrs.get(RETRY_OF) == lost)
    assert taken["folder"] == victim["folder"] and taken["lease"][1] != victim["lease"][1]
    assert [state for state, _ in found].count("COMPLETE") == 3


@pytest.fixture
def postgres():
    if programs() is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl (Debian: postgresql)")
    with serving_postgres() as server:
        yield server


@pytest.mark.slow
def test_four_workers_on_postgresql_of_which_one_is_killed(prepared, tmp_path, postgres):
    config = prepared(trials=6, workers=4, storage=postgres.url)
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 20})})
    process = started(config, tmp_path)

    def all_at_work():
        found = [attrs for state, attrs in trial_states(config) if state == "RUNNING" and "folder" in attrs]
        return found if len({tuple(attrs["lease"][:2]) for attrs in found}) == 4 else None

    until(all_at_work, process)
    victim = all_at_work()[0]
    os.kill(victim["lease"][1], signal.SIGKILL)
    finish(process)
    found = trial_states(config)
    lost = next(number for number, (state, _) in enumerate(found) if state == "FAIL")
    assert found[lost][1][KIND] == DIED
    assert [attrs.get(RETRY_OF) for _, attrs in found].count(lost) == 1
    assert [state for state, _ in found].count("COMPLETE") == 6, "exactly as many as were wanted"


@pytest.mark.slow
def test_a_database_that_dies_ends_the_study_which_goes_on_once_it_is_back(prepared, tmp_path, postgres):
    config = prepared(trials=3, storage=postgres.url)
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 20})})
    process = started(config, tmp_path)

    def at_the_second():
        found = trial_states(config)
        return [state for state, _ in found][:2] == ["COMPLETE", "RUNNING"] and "folder" in found[1][1]

    until(at_the_second, process)
    postgres.stop()
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert "study.storage" in output and "the same command" in output
    postgres.start()
    finish(started(config, tmp_path))
    assert [state for state, _ in trial_states(config)].count("COMPLETE") == 3


@pytest.mark.slow
def test_interrupt_gives_the_trial_back(prepared, tmp_path):
    config = prepared(trials=2)
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_steps": 100})})
    process = started(config, tmp_path)
    until(lambda: list((tmp_path / "s").glob("trials/*/student/*.work/progress.jsonl")), process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "the same command continues" in output
    assert trial_states(config)[0][1][KIND] == "interrupted"
    assert StudyResult(config.out).found["incomplete"] == "interrupted"


def test_help_needs_no_optuna():
    code = "import sys, optimizers.cli, optimizers.settings.run; sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_recipe_on_the_embedded_models(tmp_path, home):
    """Two trials of a few rows on the embedded base: a decomposer that answers, and the whole table."""
    wanted = {
        "data.train": 16,
        "data.dev": 4,
        "screening.min_rows": 4,
        "training.max_steps": 3,
        "study.trials": 2,
        "out": str(tmp_path / "s"),
    }
    result = study(load_config("study", wanted))
    assert len(result.trials) == 2 and result.best["score"] >= 0
    assert result.trials[0]["rows"] >= 12
