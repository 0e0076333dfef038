"""Which of the teacher's rows a student learns from: one policy a file, and how often each is right."""

from optimizers.screening.agreement import Agreement
from optimizers.screening.gain import Gain
from optimizers.screening.judge import Judge
from optimizers.screening.lm_policy import Asking, AskingPolicy
from optimizers.screening.policy import POLICIES, Decision, Policy
from optimizers.screening.self_consistency import SelfConsistency

__all__ = ["POLICIES", "Agreement", "Asking", "AskingPolicy", "Decision", "Gain", "Judge", "Policy", "SelfConsistency"]
