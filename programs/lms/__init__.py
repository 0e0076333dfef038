"""Where tokens come from: `lm(model_string)` gives a `dspy.LM` for a model in this process or behind an API."""

from __future__ import annotations

from programs.lms.catalog import adapter_name_for, lm

__all__ = ["adapter_name_for", "lm"]
