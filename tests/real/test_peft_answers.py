"""Answers of several adapters in one batch, on the pretrained bases, are peft's token for token, in fp32."""

from pathlib import Path

import pytest

from portal.bases.base import load_base
from portal.data.suites import load_suite
from tests.support.peft_answers import answers_of_both


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_answers_are_those_of_peft(name: str, tmp_path: Path) -> None:
    suite = load_suite("words")
    examples = [suite.examples(task, "test")[0] for task in suite.tasks[:4]]

    ours, theirs = answers_of_both(load_base(name), examples, tmp_path, new_tokens=24, alpha=1)

    assert ours == theirs
    assert len(set(ours)) > len(examples)  # adapters write differently
