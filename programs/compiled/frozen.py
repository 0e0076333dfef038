"""`Frozen`: a stage that DSPy's optimizers leave as it is."""

from __future__ import annotations

from typing import Any

import dspy


class Frozen(dspy.Module):
    """A module that optimizers neither list nor see: its prompts stay, its LM is not trained, its calls are in no trace.

    DSPy has no such thing for a bare predictor, and its weight optimizers train the LM of every predictor they find, an
    API's too: `TwoStage(solve=Frozen(dspy.Predict(Solve)))` keeps the solver out. As DSPy lists nothing below it, `set_lm`
    passes it over (set the LM of `module`), and so does `save`.

    Args:
        module: What does the work.
    """

    def __init__(self, module: dspy.Module) -> None:
        super().__init__()
        self.module = module
        # DSPy lists no predictors of compiled submodules.
        self._compiled = True

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Returns what the module returns."""
        # `BootstrapFinetune` makes rows of whatever is in the trace, and tells predictors by their place in it.
        with dspy.context(trace=None):
            return self.module(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """`forward` without blocking the event loop."""
        with dspy.context(trace=None):
            return await self.module.acall(**inputs)
