"""What predictors were given and gave at the time of each call.

DSPy's trace refers to the program's own lists and histories, which many programs go on to fill: read at the end of a run, the first call of
a chat would have its own answer among its inputs, and a student would learn to find it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from optimizers.labelling.values import Types, written
from programs.adapter import configured_format

Written = tuple[dict[str, Any], list[str]]
"""Fields as JSON, and those that had to be left out."""


class CallSnapshots(BaseCallback):
    """Writes the fields of every predictor's call before the program can change them, and the format that it was asked in.

    Args:
        types: Classes of the values.

    Attributes:
        formats: Each predictor's call, with the name of its prompt format.
    """

    def __init__(self, types: Types) -> None:
        self._types = types
        self._given: dict[str, dict[str, Any]] = {}
        # With the predictions themselves, as the id of one that is gone may be another's.
        self._calls: dict[int, tuple[Any, dict[str, Any], dict[str, Any]]] = {}
        self.formats: list[tuple[dspy.Predict, str]] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if isinstance(instance, dspy.Predict):
            self._given[call_id] = self._write(inputs.get("kwargs") or {})
            self.formats.append((instance, configured_format()))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        given = self._given.pop(call_id, None)
        if given is not None and isinstance(outputs, dspy.Example):
            self._calls[id(outputs)] = outputs, given, self._write(dict(outputs.items()))

    def _write(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return written(fields, self._types)[0]

    def of(self, inputs: Mapping[str, Any], outputs: Any) -> tuple[Written, Written]:
        """The inputs and outputs of a call in DSPy's trace; as they are now where the call was not seen."""
        _, given, made = self._calls.get(id(outputs), (None, {}, {}))
        return self._completed(inputs.items(), given), self._completed(outputs.items(), made)

    def _completed(self, fields: Iterable[tuple[str, Any]], known: Mapping[str, Any]) -> Written:
        now = dict(fields)
        others, left_out = written({name: value for name, value in now.items() if name not in known}, self._types)
        found = {**others, **known}
        return {name: found[name] for name in now if name in found}, left_out
