"""Ratios, targets and the table that `make bench` writes."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import MEASURED, NAMES, keep, read_records
from benchmarks.bf16_widths import Point as WidthPoint
from benchmarks.checkpoints import Point as StopPoint
from benchmarks.comparison import Comparison, seconds
from benchmarks.digests import Point as DigestPoint
from benchmarks.forecast import Point as ForecastPoint
from benchmarks.measure import Ratio, ratio, take_turns
from benchmarks.pack_scaling import Point, slope_bytes
from benchmarks.padding import Point as PaddingPoint
from benchmarks.simulation import Point as SimulatedPoint
from benchmarks.study_scaling import Point as StudyPoint
from benchmarks.table import BEGIN, END, publish, render
from benchmarks.task_scaling import Point as TaskPoint
from tests.support.markdown import ROOT

LINE = Comparison("a step", "a peer", 2.0, Ratio(2.5, 2.0, 4.0, 0.01, 0.025, 5), note="all equal")


def test_sides_take_turns_and_the_order_is_reversed_every_other_time() -> None:
    order, clock = [], [0.0]

    def side(name: str, lasts_s: float) -> Callable[[], None]:
        def work() -> None:
            order.append(name)
            clock[0] += lasts_s

        return work

    sides = {"a": side("a", 2.0), "b": side("b", 8.0)}
    spent = take_turns(sides, repeats=3, warm_up=1, clock=lambda: clock[0])

    assert "".join(order) == "abbaabba"
    assert spent == {"a": [2.0] * 3, "b": [8.0] * 3}
    assert ratio(spent["a"], spent["b"]).value == 4.0  # a slower side is measured as slower


def test_a_ratio_is_the_median_over_turns_of_theirs_by_ours() -> None:
    found = ratio([1.0, 2.0, 4.0], [3.0, 2.0, 8.0])

    assert found == Ratio(2.0, 1.0, 3.0, ours_s=2.0, theirs_s=3.0, repeats=3)


@pytest.mark.parametrize(
    ("sense", "target", "met", "text"),
    [
        ("speed", 2.0, True, "2.50x (2.00-4.00)"),
        ("speed", 3.0, False, "2.50x (2.00-4.00) (not met)"),
        ("cost", 0.5, True, "0.40x (0.25-0.50)"),
        ("cost", 0.3, False, "0.40x (0.25-0.50) (not met)"),
        ("speed", None, None, "2.50x (2.00-4.00)"),
    ],
)
def test_a_target_is_met_or_said_not_to_be(
    sense: str, target: float | None, met: bool | None, text: str
) -> None:
    line = replace(LINE, target=target, sense=sense)

    assert line.is_met is met
    assert line.cells()[3:6] == ("10 ms", "25 ms", text)
    assert Comparison.from_json(line.to_json()) == line
    assert [seconds(value) for value in (0.0312, 2.414, 84.2)] == ["31.2 ms", "2.41 s", "84 s"]


def record_of(
    name: str, date: str, points: Sequence[Any] = (), processor: str = "some CPU"
) -> dict[str, Any]:
    """A record of these points, or without any, of a comparison."""
    machine = {"processor": processor, "cores": "2", "memory": "24 GiB", "torch": "2.13"}
    found = {"points": [*map(vars, points)]} if points else {"comparisons": [LINE.to_json()]}
    return {"name": name, "machine": machine, "date": date, **found}


def test_the_table_goes_between_its_marks_and_can_go_there_again() -> None:
    stops = StopPoint(1, 2**20, 0.02, 0.5, 0.1, 0.2), StopPoint(8, 2**30, 0.3, 9.0, 1.0, 1.5)
    measured = {
        "pack-scaling": [Point("tiny", size, 0.01 * size, 1000.0 * size, 900.0 * size) for size in (1, 2, 4)],
        "padding": [
            PaddingPoint("large", "B200", "q, v", learners, 9.5, 1.0 + 0.1 * learners, 1.5)
            for learners in (1, 2)
        ],
        "checkpoints": stops,
        "task-scaling": [
            TaskPoint(11, 1, 0.1, 0.16, 410.0, 2**26, 2**27),
            TaskPoint(140, 1, 0.8, 0.049, 395.0, 2**29, 2**28),
        ],
        "bf16-widths": [
            WidthPoint(64, 2, {"fp32": 0.02, "bf16": 0.04}, 0.5, {"fp32": 0.3, "bf16": 0.1}, 3.0)
        ],
        "study-scaling": [StudyPoint(size, 5 + 0.02 * size, 0.01 * size, 6e8) for size in (1, 2)],
        "digests": [DigestPoint(2**31, 4, 8, 0.8, 0.84, 3)],
        "forecast-demo": [ForecastPoint("demo", 0.7, 600.0, 500.0, 0.8, 540.0, 486.0)],
        "forecast-few-rows": [ForecastPoint("few-rows", 0.7, 3600.0, 2400.0, None, 2460.0)],
        "simulation": [SimulatedPoint(9, 3, 0.5, gpus, 106, 100) for gpus in (4, 8)],
    }
    records = [record_of("scoring", "2026-11-25")]
    records += [record_of(name, "2026-11-26", points) for name, points in measured.items()]

    table = render(records)
    page = publish(f"before\n{BEGIN}\n{END}\nafter\n", table)

    for line in (
        "| a step | a peer | at least 2x | 10 ms | 25 ms | 2.50x (2.00-4.00) | 5 |",
        "- a step: all equal.",
        "| 140 | 1 | 800 ms | 4.9 % | 395 | 512 MiB | 256 MiB |",
        "| large | B200 | q, v | 1.10 / 1.50 / 9.5 | 1.20 / 1.50 / 9.5 |",
        "| 1 | 1 MiB | 500 ms | 20 ms | 0.03 % | 100 ms | 200 ms |",
        "| 8 | 1024 MiB | 9.00 s | 300 ms | 0.17 % | 1.00 s | 1.50 s |",
        "| 64 | 2 | 20 ms | 40 ms | 0.50x | 300 ms | 100 ms | 3.00x |",
        "| 9 | 8 | 3 | 1.8 min | 1.7 min | 1.060 (not met) | 500 ms |",
        "| 2 GiB | 4 | 800 ms | 840 ms | 1.05 (met) |",
        "| demo | 0.70, 0.80 | 10.0 min | 8.3 min | 1.20 (met) | 9.0 min | 8.1 min (not met) |",
        "| few-rows | 0.70 | 1.0 h | 40.0 min | 1.50 (not met) | 41.0 min | - |",
    ):
        assert line in table
    for words in (
        "some CPU, 2 cores, 24 GiB; torch 2.13. Measured 2026-11-25 to 2026-11-26.",
        "at most 5 % with 140 tasks: met",
        "at most 1.25 on large with 2 learners (1.20: met)",
        "training may stop for 2 % of the time (met)",
        "another run adds 20 ms of wall time, 10 ms of the driver's CPU time",
    ):
        assert words in " ".join(table.split())
    assert [line for line in table.splitlines() if len(line) > 110 and not line.startswith("|")] == []
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert publish(page, table) == page


def test_figures_of_several_machines_say_on_which_they_were_measured() -> None:
    forecast = [ForecastPoint("demo", 1, 9, 10, None, 8)]
    records = [
        record_of("scoring", "2026-11-25", processor="old CPU"),
        record_of("generation", "2026-11-30", processor="new CPU"),
        record_of("checkpoints", "2026-12-01", [StopPoint(1, 2**20, 0.02, 0.5, 0.1, 0.2)], "new CPU"),
        record_of("forecast-demo", "2026-11-25", forecast, "old CPU"),
        record_of("forecast-demo", "2026-11-30", forecast, "new CPU"),
    ]

    table = render(records)

    assert "Machine 1: old CPU, 2 cores, 24 GiB; torch 2.13.\n\nMeasured 2026-11-25." in table
    assert "Machine 2: new CPU, 2 cores, 24 GiB; torch 2.13.\n\nMeasured 2026-11-30 to 2026-12-01." in table
    assert [row.split("|")[-2].strip() for row in table.splitlines() if "| a step" in row] == ["1", "2"]
    assert re.findall(r"On machine \d", table) == ["On machine 2", "On machine 1", "On machine 2"]
    assert "achine" not in render(records[:1])


def test_a_page_keeps_the_results_that_were_not_measured_anew(tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    for name, date in (("scoring", "2026-11-25"), ("generation", "2026-11-25"), ("generation", "2026-11-30")):
        (out / f"{name}.json").write_text(json.dumps(record_of(name, date)))
        keep([name], out, kept)

    found = {record["name"]: record["date"] for record in read_records(kept)}
    assert found == {"generation": "2026-11-30", "scoring": "2026-11-25"}
    assert set(found) == {path.stem for path in kept.iterdir()}


def test_every_benchmark_has_a_result_and_the_page_shows_them() -> None:
    page, records = (ROOT / "docs" / "benchmarks.md").read_text(), read_records(MEASURED)

    assert {record["name"] for record in records} == {*NAMES}
    assert publish(page, render(records)) == page


def test_no_other_target_is_missed_than_these_which_the_page_explains() -> None:
    """Among those that are met: forecasts within 0.8 to 1.25, stops for checkpoints, waits for a digest."""
    table = render(read_records(MEASURED))

    missed = Counter(line.split(" | ")[0].strip("| ") for line in table.splitlines() if "not met" in line)

    assert missed == {
        "training round, 14 tasks x 4 rows, q/v r8, smollm2-135m in bf16": 1,
        "factors of 14 tasks, q/v r8, Qwen3-8B's geometry, no graph": 1,
        "factors of 14 tasks, q/v r8, Qwen3-8B's geometry, with its graph": 1,
        "scoring 14 tasks x 6 real rows, smollm2-135m in bf16": 2,
        "the study demo-eleven, whole, packed in two lanes": 2,
        "the demo's": 1,
        "the paper's": 1,
        "it that is spent in Python (target: at most 5 % with 140 tasks: not met).": 1,
    }
    (whole,) = json.loads((MEASURED / "forecast-real-cpu.json").read_text())["points"]
    assert whole["measured_s"] <= 35 * 60


def test_memory_that_grows_evenly_has_that_slope() -> None:
    points = [Point("tiny", size, 0.0, 500.0 + 1000.0 * size, 0.0) for size in (1, 2, 4, 8)]

    assert slope_bytes(points) == pytest.approx(1000.0)
