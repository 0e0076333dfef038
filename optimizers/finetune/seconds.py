"""About how many seconds labelling and training will take, for the time left of a whole job that no configuration plans."""

from __future__ import annotations

from collections.abc import Iterable

from optimizers.finetune.spec import TrainingSpec
from programs.lms.model_sizes import relative_size
from programs.lms.model_strings import is_local

_TOKENS_A_ROW = 120

# Of a model of the embedded ones' size on two cores, as a configuration has them; what is measured takes their place at once.
_TOKENS_A_SECOND, _CALLS_A_SECOND = 150.0, 4.0

API_SECONDS_A_CALL = 2.0
"""What is reckoned of a model behind an API, here and in all plans."""


def labelling_seconds(models: Iterable[str], runs: int, threads: int) -> float:
    """Of so many runs of a program.

    Args:
        models: Model string of each of its predictors; one that is none of this process counts as an API's.
        runs: Their number.
        threads: Runs at a time.

    Raises:
        ValueError: As of `relative_size`.
    """
    return runs * sum(relative_size(one) / _CALLS_A_SECOND if is_local(one) else API_SECONDS_A_CALL / threads for one in models)


def training_seconds(spec: TrainingSpec, base: str, rows: int) -> float:
    """Of a training on so many rows.

    Args:
        spec: Its settings.
        base: Model string of what is trained.
        rows: Their number.

    Raises:
        ValueError: As of `relative_size`.
    """
    trained = computed_again(spec) * spec.steps_of(rows) * spec.batch_size * spec.gradient_accumulation
    return trained * _TOKENS_A_ROW / _TOKENS_A_SECOND * relative_size(base)


def computed_again(spec: TrainingSpec) -> float:
    """By what a training takes longer that keeps no activations: one pass forward more beside one forward and one back, which costs two."""
    return 4 / 3 if spec.gradient_checkpointing else 1.0
