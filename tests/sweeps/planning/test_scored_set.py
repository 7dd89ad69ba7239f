"""A set takes the forwards and tokens that its rows are really scored in."""

import pytest

from portal.bases.base import load_base
from portal.evaluate.loglikelihood import MAX_TOKENS, scoring_batches
from portal.forward.microbatch_plan import cpu_launch_cost
from portal.forward.shared_prefix import packed_length
from sweeps.planning.scored_set import Layout, ScoredSet
from tests.support.bases import TASKS, make_rows

COST = cpu_launch_cost(0).forward / 2


def test_it_is_laid_out_as_scoring_lays_out_its_rows() -> None:
    base = load_base("mini-qwen3-xs")
    rows = [row for task in TASKS for row in make_rows(base, count=60).rows(task, "test")]
    sizes = tuple((packed_length(row), 1) for row in rows)

    found = ScoredSet(len(rows), 1.0, sizes).layout(COST)

    batches = scoring_batches(rows, base).batches
    assert found.forwards == len(batches) > 1
    assert found.tokens == sum(packed_length(row) for row in rows) < found.padded_tokens
    assert found.padded_tokens == pytest.approx(sum(batch.ids_NT.numel() for batch in batches), rel=0.02)


def test_rows_that_were_not_sampled_are_like_those_that_were() -> None:
    sampled = ScoredSet(2, 1.0, ((20, 1), (200, 3))).layout(COST)

    every = ScoredSet(40, 1.0, ((20, 1), (200, 3))).layout(COST)

    assert sampled == Layout(2, 20 + 600, 20 + 3 * 208)  # a multiple of 16
    assert (every.tokens, every.padded_tokens) == (20 * 620, 20 * (20 + 624))
    assert every.forwards == 1 + -(-20 // (MAX_TOKENS // 624))


@pytest.mark.parametrize(("cost", "forwards"), [(1.0, 2), (10_000.0, 1)])
def test_dear_forwards_are_fewer(cost: float, forwards: int) -> None:
    assert ScoredSet(20, 1.0, ((20, 1), (60, 1))).layout(cost).forwards == forwards
