"""Screening policies that ask language models and see no reference answer; each is a `Policy` of `optimizers.screening`."""

from optimizers.policies.agreement import Agreement
from optimizers.policies.asking import Asking, AskingPolicy
from optimizers.policies.judge import Judge
from optimizers.policies.self_consistency import SelfConsistency

__all__ = ["Agreement", "Asking", "AskingPolicy", "Judge", "SelfConsistency"]
