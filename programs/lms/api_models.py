"""LiteLLM, which knows the providers of API models, their keys and their prices."""

from __future__ import annotations

import os
from typing import Any


def load_litellm() -> Any:
    """The `litellm` module, imported when it is first needed, as its import takes seconds."""
    # At import LiteLLM would fetch its price map from the network: a wait without one, and prices that change between runs.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    # Else it prints a link in red for every name that it does not know, beside the message that says what would do.
    litellm.suppress_debug_info = True
    return litellm
