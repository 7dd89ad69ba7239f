"""How often a fault is made: in the suite, and ten times that in `make chaos`."""

import os

LONG = int(os.environ.get("PORTAL_CHAOS", "1"))
"""A factor on every count; 1 in the suite."""
