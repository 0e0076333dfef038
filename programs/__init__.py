"""Programs that answer a question: in one stage, or by decomposing it first and then solving it.

import dspy
from programs import TwoStage
from programs.lms import lm

dspy.configure(lm=lm("openai/gpt-4.1-mini"))
TwoStage()(question="Was Hugo's mother born before his father?", context="...").answer
"""

import warnings
from typing import TYPE_CHECKING

from programs.lazy import loader

if TYPE_CHECKING:
    from programs.adapter import LineAdapter, TerseLineAdapter
    from programs.baselines.controls import Generic, NoDecomposition, OtherQuestion, Reference, Shuffled
    from programs.baselines.hidden_question import HiddenQuestion
    from programs.baselines.interactive import Interactive
    from programs.cascade import Cascade
    from programs.compiled.frozen import Frozen
    from programs.compiled.state import load_program
    from programs.feedback import FeedbackTwoStage
    from programs.modules import SingleStage, TwoStage
    from programs.signatures import Answer, Decompose, DecomposeWithAttempt, FollowUp, ShortAnswer, Solve
    from programs.version import __version__ as __version__

__all__ = [
    "Answer",
    "Cascade",
    "Decompose",
    "DecomposeWithAttempt",
    "FeedbackTwoStage",
    "FollowUp",
    "Frozen",
    "Generic",
    "HiddenQuestion",
    "Interactive",
    "LineAdapter",
    "NoDecomposition",
    "OtherQuestion",
    "Reference",
    "ShortAnswer",
    "Shuffled",
    "SingleStage",
    "Solve",
    "TerseLineAdapter",
    "TwoStage",
    "load_program",
]

_HOMES = {
    "__version__": "programs.version",
    "Answer": "programs.signatures",
    "Cascade": "programs.cascade",
    "Decompose": "programs.signatures",
    "DecomposeWithAttempt": "programs.signatures",
    "FeedbackTwoStage": "programs.feedback",
    "FollowUp": "programs.signatures",
    "Frozen": "programs.compiled.frozen",
    "Generic": "programs.baselines.controls",
    "HiddenQuestion": "programs.baselines.hidden_question",
    "Interactive": "programs.baselines.interactive",
    "LineAdapter": "programs.adapter",
    "NoDecomposition": "programs.baselines.controls",
    "OtherQuestion": "programs.baselines.controls",
    "Reference": "programs.baselines.controls",
    "ShortAnswer": "programs.signatures",
    "Shuffled": "programs.baselines.controls",
    "SingleStage": "programs.modules",
    "Solve": "programs.signatures",
    "TerseLineAdapter": "programs.adapter",
    "TwoStage": "programs.modules",
    "load_program": "programs.compiled.state",
}

# The bars of DSPy and Hugging Face warn at their import in a notebook without ipywidgets, and then do without.
warnings.filterwarnings("ignore", "IProgress not found")

__getattr__ = loader(__name__, _HOMES)
