"""Real rows, model configs and schemas that lie beside the checkout where this project is developed.

They are not part of it: tests that need them are skipped, with a reason, where they are absent.
"""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared"
ROWS = SHARED / "data"
"""Rows of the fourteen tasks as their publishers lay them out, TASK/SPLIT.parquet."""

needs_rows = pytest.mark.skipif(not ROWS.is_dir(), reason="no real rows beside the checkout (../shared/data)")

BASES = ("smollm2-135m", "gemma-3-270m")
