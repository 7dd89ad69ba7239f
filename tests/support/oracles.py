"""Packages of facts that the tables of `portal.words` are compared with, where they are installed."""

from types import ModuleType

import pytest


def need_oracle(module: str) -> ModuleType:
    """The module; the test is skipped, naming the extra that has it, where it is absent."""
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[words-check]'")
