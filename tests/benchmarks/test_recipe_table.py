"""The table of joint training by number of tasks, bases and rate."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.recipe_table import RATES, Line, finish, gather_lines, render
from tests.support.studies import load_text, silent

METHOD = """
    size: 8
    adapter: {modules: [q], rank: 1}
    hypernet: {d_latent: 4, d_layer: 4, hidden: 8, d_core: 8}
    train: {rounds_per_epoch: 2}"""
TOY = f"""
name: toy
suite: village
tasks: [home_01, colour_02]
eval_size: 8
seeds: [0]
sources: [village-qwen3-s, village-qwen3-xs]
targets: [village-qwen3-xs]
recipe: many-tasks
methods:
  source:{METHOD}
  hypernet:{METHOD}
variants:
  third: {{train: {{lr: 6.7e-4}}}}
  recipe: {{train: {{lr: 2e-3}}}}
  triple: {{train: {{lr: 6e-3}}}}
"""


def row(rate: str, seed: int, acc: float, **more: Any) -> dict[str, Any]:
    return {
        "run": f"{rate} {seed}", "label": f"hypernet-{rate}", "method": "hypernet", "sources": None,
        "base": "xs", "task": "home_01", "chance": 0.25, "seed": seed, "acc_norm": acc, "epoch": 1,
        "split": "test", **more,
    }  # fmt: skip


def test_a_line_has_the_last_epochs_test_rows_by_rate_and_seed() -> None:
    rows = [
        row("recipe", 0, 0.1, epoch=0),
        row("recipe", 0, 0.9, split="validation"),
        row("recipe", 0, 0.6),
        row("recipe", 0, 0.8, task="home_02", chance=0.35),
        row("recipe", 1, 0.5),
        row("triple", 0, 0.4),
        row("third", 0, 0.3, method="source", label="source-third", sources=["s", "xs"]),
    ]

    alone, joint = gather_lines(rows)

    assert (alone.num_tasks, alone.trained_on, joint.trained_on) == (2, ("xs",), ("s", "xs"))
    assert alone.accuracy == {"recipe": {0: pytest.approx(0.7), 1: 0.5}, "triple": {0: 0.4}}
    assert alone.means() == {"recipe": pytest.approx(0.6), "triple": 0.4}
    assert alone.range_over_rates() == pytest.approx(0.2)
    assert alone.lowest() == 0.4


def test_what_does_not_hold_is_named() -> None:
    steady = Line(11, "xs", ("xs",), 0.25, {rate: {0: 0.9, 1: 0.92} for rate in RATES})
    flat = Line(70, "s", ("s",), 0.25, {"third": {0: 0.9}, "recipe": {0: 0.9}, "triple": {0: 0.3}})

    table = render([steady, flat])

    assert "| 11 | xs | xs | 0.250 | 0.910 | 0.910 | 0.910 | 0.000 | 0.900 |" in table
    assert "less than 10 points above chance: 70 tasks on s, scored on s." in table
    assert "more than 3 points over the rates: 70 tasks on s, scored on s." in table
    assert "points above chance: none." in render([steady])


@pytest.mark.slow
def test_a_small_study_ends_in_a_line_for_each_base_alone_and_jointly(tmp_path: Path) -> None:
    lines = finish(load_text(tmp_path, TOY), tmp_path / "out", silent(), executor="local")

    xs, s = "village-qwen3-xs", "village-qwen3-s"
    assert [(line.base, len(line.trained_on)) for line in lines] == [(xs, 1), (s, 2), (xs, 2)]
    for line in lines:
        assert list(line.accuracy) == list(RATES)
        assert all([*seeds] == [0] for seeds in line.accuracy.values())
        assert line.num_tasks == 2
