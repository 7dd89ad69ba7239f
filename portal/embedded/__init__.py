"""Suites and bases that come with the package, as files: NAME/suite.yaml, NAME/rows.parquet, NAME/bases.

`portal.data.suites` reads the suites and `portal.bases.registry` names the bases. `tools/worlds` in the
repository made them all.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
SUITES = ("mini", "village", "ledger", "words", "written-words")
"""Where a task of several has one name, the first of them is meant."""
