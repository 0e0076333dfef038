"""Fixtures for all tests; `tests/scripted.py` is importable from everywhere."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
