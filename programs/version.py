"""The version of the packages, as it was installed; `pyproject.toml` has it."""

import importlib.metadata

__version__ = importlib.metadata.version("divide-or-conquer")
