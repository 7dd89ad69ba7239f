"""Packages of facts that the tables of `tools.worlds.words` are compared with, where they are installed."""

import unicodedata
from types import ModuleType

import pytest


def need_oracle(module: str) -> ModuleType:
    """The module; the test is skipped, naming the extra that has it, where it is absent."""
    return pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[words-check]'")


def plain(text: str) -> str:
    """The text without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def code_of(country: str) -> str:
    """The ISO code of the country with two letters."""
    names = {"Turkey": "TR", "Russia": "RU", "Laos": "LA"}
    found = need_oracle("pycountry").countries
    return names.get(country) or found.lookup(country).alpha_2
