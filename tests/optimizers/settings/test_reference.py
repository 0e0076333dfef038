"""The page of settings says all of them, and what the code says."""

from pathlib import Path

import pytest

from optimizers.finetune.specs import KINDS
from optimizers.settings.reference import docstrings, reference, sections, settings_of
from optimizers.settings.section import LimitedSection, Section

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


def test_types_bounds_and_defaults_are_told_in_words():
    rows = {row.name: row for name, section in sections() for row in settings_of(section, name)}
    assert rows["screening.share"][1:3] == ("number, above 0 and at most 1", "`0.6`")
    assert rows["improve.method"][1:3] == ("`expert`, `dpo` or `grpo`", "`expert`")
    assert rows["teacher.model"][1:3] == ("text", "`embedded/teacher`")
    assert rows["solver"][1:3] == ("[model](#student)", "not set")
    assert rows["experiment.rows"][1:3] == ("whole numbers, joined by commas, not empty", "`25,50,100`")
    assert rows["improve.dpo"][1:3] == ("[section](#improvedpo)", "")


def test_docstrings_come_from_the_bases_too():
    class More(LimitedSection):
        further: int = 0
        """One in
        two lines."""

    assert docstrings(More).keys() == {*LimitedSection.model_fields, "further"}
    assert docstrings(More)["further"] == "One in two lines."
