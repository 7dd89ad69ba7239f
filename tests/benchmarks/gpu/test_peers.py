"""Peers step on the same rows as ours do, on a base of a real shape with random weights."""

import pytest
import torch

from benchmarks.gpu import peers
from benchmarks.gpu.peers import compare_with_peers, random_examples
from benchmarks.lora import BATCH
from benchmarks.sample import as_table
from sweeps.gpu_check.shape import LENGTHS, random_base

CPU = torch.device("cpu")
_FIRST_WORD = 4  # without a space before it it may be more tokens


def test_questions_of_random_words_are_as_long_as_those_of_the_tasks() -> None:
    base = random_base("mini-qwen3-xs", CPU)

    rows = as_table(random_examples(base.tokenizer, tuple(LENGTHS)), base)

    for task, (percentiles, answer, num_choices) in LENGTHS.items():
        own = rows.rows(task, "train")
        assert len(own) == BATCH
        assert {len(row.choices) for row in own} == {num_choices}
        assert {len(choice) for row in own for choice in row.choices} == {answer}
        longest = max(percentiles) + _FIRST_WORD
        assert all(min(percentiles) <= len(row.prompt) <= longest for row in own)


@pytest.mark.nightly
@pytest.mark.oracle
def test_a_step_is_timed_beside_peft_and_portallib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers._TURNS, "cpu", 1)
    monkeypatch.setitem(peers._TASKS, "cpu", 1)

    lines = list(compare_with_peers("mini-qwen3-xs", CPU))

    assert [line.against.partition(",")[0] for line in lines] == ["peft"] * 6 + ["portallib"] * 2
    assert [line.what.split(", ")[:2] for line in lines[:6:2]] == [
        ["step of 1 tasks' LoRAs in 1 seed", "q/v r8"],
        ["step of 1 tasks' LoRAs in 3 seeds", "q/v r8"],
        ["step of 1 tasks' LoRAs in 1 seed", "all r16"],
    ]
    assert all(line.target is None and line.ratio.ours_s > 0 and line.ratio.theirs_s > 0 for line in lines)
