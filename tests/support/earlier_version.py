"""An output folder that the code before the first release wrote; its README says how."""

from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"
EARLIER_VERSION = FIXTURES / "v0.1.0"
