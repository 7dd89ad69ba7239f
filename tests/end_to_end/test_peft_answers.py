"""Written answers of many adapters in one batch are peft's, token for token, on every embedded base."""

from pathlib import Path

import pytest

from portal.bases.base import load_base
from portal.bases.registry import known_bases
from portal.data.suites import load_suite
from tests.support.peft_answers import SLOTS, answers_of_both

WORLDS = ("mini", "village", "ledger")
EMBEDDED = sorted(name for name in known_bases() if name.startswith(tuple(f"{world}-" for world in WORLDS)))
SAMPLE = ("ledger-gemma3", "mini-qwen3-xs", "village-qwen3.5")
"""Bases that are tried at each commit: one of each world and family."""


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    "name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.nightly) for name in EMBEDDED]
)
def test_answers_are_those_of_peft(name: str, tmp_path: Path) -> None:
    suite = load_suite(name.partition("-")[0])
    examples = [suite.examples(task, "test")[0] for task in suite.tasks[:6]]

    ours, theirs = answers_of_both(load_base(name), examples, tmp_path, new_tokens=16, alpha=1)

    assert ours == theirs
    assert len(set(ours)) > len(examples)  # adapters write differently
    assert len(ours) == SLOTS * len(examples)
