"""Where tokens come from: `lm(model_string)` gives a `dspy.LM` for a model in this process or behind an API."""

from __future__ import annotations

from programs.lms.catalog import lm
from programs.lms.model_strings import adapter_name_for

__all__ = ["adapter_name_for", "lm"]
