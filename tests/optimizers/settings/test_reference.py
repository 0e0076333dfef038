"""The page of settings says all of them, and what the code says."""

from pathlib import Path

import pytest

from optimizers.conditions import ALL_CONDITIONS, parse_condition
from optimizers.finetune.specs import KINDS
from optimizers.prompts.dspy_optimizers import OPTIMIZERS
from optimizers.settings.compile import PROMPT_OPTIMIZERS
from optimizers.settings.reference import docstrings, reference, sections, settings_of
from optimizers.settings.section import LimitedSection, Section
from optimizers.settings.valid_values import NAMES

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_what_the_module_writes():
    assert PAGE.read_text() == reference(), "write it again: python -m optimizers.settings.reference > docs/settings.md"


def test_every_setting_has_a_docstring():
    found = [section for _, section in sections()]
    for section in {*found, *KINDS.values()}:
        assert not [name for name in section.model_fields if not docstrings(section).get(name)], section


def test_a_setting_without_a_docstring_is_refused():
    class Silent(Section):
        told: int = 0
        """Said."""
        untold: int = 0

    with pytest.raises(ValueError, match="untold"):
        settings_of(Silent, "")


def test_types_defaults_units_and_valid_values_are_told():
    rows = {row.name: row for name, section in sections() for row in settings_of(section, name)}
    assert rows["screening.share"][1:5] == ("number", "`0.6`", "share of the votes", "above 0 and at most 1")
    assert rows["improve.method"][1:5] == ("word", "`expert`", "", "`expert`, `dpo`, `grpo`")
    assert rows["study.pruner"][1:5] == ("word", "not set", "", "`wilcoxon`, `median`, `both`, `none`")
    assert rows["teacher.model"][1:5] == ("text", "`embedded/teacher`", "", "a model string")
    assert rows["solver"][1:5] == ("[model](#student)", "not set", "", "")
    assert rows["max_usd"][1:5] == ("number", "not set", "US dollars", "above 0")
    assert rows["experiment.rows"][1:5] == ("whole numbers, joined by commas", "`25,50,100`", "rows", "not empty")
    assert rows["experiment.ablations"].valid.startswith("`rows`, `limit`")
    assert rows["cost.prices"].kind == "by name, 2 to 4 numbers, joined by commas"
    assert rows["improve.dpo"][1:5] == ("[section](#improvedpo)", "", "", "")
    assert "training.base" not in rows, "it is --student"


DIMENSIONLESS = {"temperature", "sampling_temperature", "learning_rate", "beta", "weight_decay", "lora_rank", "lora_alpha", "neftune_noise"}
DIMENSIONLESS |= {"cascade_temperature", "kl_weight", "seed", "row_seed", "training_seeds", "data_seeds", "sampling_seeds"}


def test_every_number_that_counts_something_has_a_unit():
    numbers = [row for name, section in sections() for row in settings_of(section, name) if "number" in row.kind]
    assert {row.name.rpartition(".")[2] for row in numbers if not row.unit} == DIMENSIONLESS


def test_the_names_that_are_offered_are_those_that_the_jobs_take():
    assert set(PROMPT_OPTIMIZERS) == set(OPTIMIZERS)
    for (section, key), names in NAMES.items():
        assert key in section.model_fields and list(names.known())
    for name in ALL_CONDITIONS:
        assert parse_condition(name).name == name


def test_docstrings_come_from_the_bases_too():
    class More(LimitedSection):
        further: int = 0
        """One in
        two lines."""

    assert docstrings(More).keys() == {*LimitedSection.model_fields, "further"}
    assert docstrings(More)["further"] == "One in two lines."
