"""What makes a student carry over to another domain and to longer chains: one change at a time, paired, over seeds.

    python benchmarks/carry_over.py @ forgiving --out runs/carry_over
    python benchmarks/carry_over.py @ forgiving --out runs/carry_over --arms-only plain,compose,neftune --seeds 0,1,2
    python benchmarks/carry_over.py --list

Every arm trains the recipe's decomposer on the same number of teacher questions, `--rows`, of the first task of
`experiment.train`, and is tested on all of `experiment.test` with the teacher as solver, beside the teacher on the same
questions. A seed stands for other teacher questions and another order of training; the test questions are always the same.
The same command continues: a label, a student or an answer that is on file is never made again. One at a time in a folder.

Writes `carry_over.json`, `carry_over.md` and `carry_over.png` into `--out`, beside all labels, students and answers.

Arms of your own: `--arms FILE.toml` in place of the built-in ones; `plain` is always there.

    [arms.slow.training]            # any section of a run's configuration
    epochs = 8
    learning_rate = 3e-4
    [arms.both]
    task = "both"                   # one of [experiment.tasks], or a table such as {name = "mixture", parts = ["people", "books"]}
    [arms.unscreened]
    student = "S_D-T"               # in place of S_D-R
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import frame  # before the packages, which it makes importable
from carry_over_arms import Arm, builtin_arms, chosen_arms, read_arms
from carry_over_report import write_report
from carry_over_study import Study

from optimizers.settings.load import load_config
from optimizers.settings.run import RunConfig
from programs.lms.ledger import Ledger, Prices, recording


def main() -> None:
    options, words = _options()
    config = configured(options, words)
    arms = chosen_arms(read_arms(options.arms) if options.arms else builtin_arms(config), options.arms_only)
    if options.list:
        _list(arms)
        return
    study = Study(config, arms, sorted(set(options.seeds)))
    try:
        with recording(Ledger(Prices(config.cost.local_usd_per_hour))), frame.working(study.folder, "study") as show:
            study.run(show, keep=not options.discard_students)
    except KeyboardInterrupt:
        _report(study)
        raise
    _report(study)


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = frame.Arguments(__doc__, allow_abbrev=False)
    parser.add_argument("--arms", type=Path, help="TOML file of arms, in place of the built-in ones")
    parser.add_argument("--arms-only", default="", help="names of arms, joined by commas; plain is always there")
    parser.add_seeds()
    parser.add_argument("--rows", type=int, help="teacher questions of every arm (default: data.train of the recipe)")
    parser.add_argument("--test", type=int, help="questions of every test task (default: those of the recipe)")
    parser.add_argument("--discard-students", action="store_true", help="remove each student's weights once it is tested")
    parser.add_argument("--list", action="store_true", help="print the arms as TOML, and do nothing")
    parser.epilog = "All other words are a recipe and settings, as of `divide-or-conquer run`; --out says where."
    return parser.parse_known_args()


def configured(options: argparse.Namespace, words: list[str]) -> RunConfig:
    """The recipe with the sizes of the study."""
    recipe, settings = frame.recipe_and_settings(words, "forgiving")
    config = load_config(recipe, {"out": "runs/carry_over", **settings})
    experiment = config.experiment
    sizes: Mapping[str, int | None] = {"train": options.rows or config.data.train, "test": options.test}
    names = [*experiment.train, *experiment.test, config.task.name]
    data = {name: {**experiment.data.get(name, {}), **{key: size for key, size in sizes.items() if size}} for name in names}
    # The plain recipe is that of `run`, without what an experiment changes to fit in more students.
    changed = {**experiment.model_dump(), "data": data, "training": {}}
    return RunConfig.model_validate({**config.model_dump(), "experiment": changed})


def _list(arms: list[Arm]) -> None:
    import tomli_w

    print(tomli_w.dumps({"arms": {arm.name: arm.to_dict() for arm in arms}}))


def _report(study: Study) -> None:
    print(write_report(study, frame.origin(study.folder, study.config)))


if __name__ == "__main__":
    frame.command(main)
