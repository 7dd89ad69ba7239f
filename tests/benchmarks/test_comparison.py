"""Ratios, targets and the table that `make bench` writes."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.__main__ import MEASURED, NAMES, keep, read_records
from benchmarks.comparison import Comparison, seconds
from benchmarks.measure import Ratio, ratio, take_turns
from benchmarks.table import BEGIN, END, publish, render
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


def test_a_target_is_met_or_said_not_to_be() -> None:
    for sense, target, met, text in (
        ("speed", 2.0, True, "2.50x (2.00-4.00)"),
        ("speed", 3.0, False, "2.50x (2.00-4.00) (not met)"),
        ("cost", 0.5, True, "0.40x (0.25-0.50)"),
        ("cost", 0.3, False, "0.40x (0.25-0.50) (not met)"),
        ("speed", None, None, "2.50x (2.00-4.00)"),
    ):
        line = replace(LINE, target=target, sense=sense)
        assert line.is_met is met
        assert line.cells()[3:6] == ("10 ms", "25 ms", text)
        assert Comparison.from_json(line.to_json()) == line
    assert [seconds(value) for value in (0.0312, 2.414, 84.2)] == ["31.2 ms", "2.41 s", "84 s"]


def record_of(name: str, date: str, processor: str = "some CPU") -> dict[str, Any]:
    machine = {"processor": processor, "cores": "2", "memory": "24 GiB", "torch": "2.13"}
    return {"name": name, "machine": machine, "date": date, "comparisons": [LINE.to_json()]}


def test_the_table_goes_between_its_marks_and_can_go_there_again() -> None:
    records = [record_of(name, date) for name, date in (("scoring", "2026-11-25"), ("lora", "2026-11-26"))]

    table = render(records)
    page = publish(f"before\n{BEGIN}\n{END}\nafter\n", table)

    assert "some CPU, 2 cores, 24 GiB; torch 2.13.\n\nMeasured 2026-11-25 to 2026-11-26." in table
    assert "| a step | a peer | at least 2x | 10 ms | 25 ms | 2.50x (2.00-4.00) | 5 |" in table
    assert "- a step: all equal." in table
    assert "achine" not in table  # there is one
    assert page == f"before\n{BEGIN}\n{table}{END}\nafter\n"
    assert publish(page, table) == page


def test_figures_of_several_machines_say_on_which_they_were_measured() -> None:
    old, new = record_of("scoring", "2026-11-25", "old CPU"), record_of("lora", "2026-11-30", "new CPU")

    table = render([old, new, {**new, "date": "2026-12-01"}])

    assert "Machine 1: old CPU, 2 cores, 24 GiB; torch 2.13.\n\nMeasured 2026-11-25." in table
    assert "Machine 2: new CPU, 2 cores, 24 GiB; torch 2.13.\n\nMeasured 2026-11-30 to 2026-12-01." in table
    assert re.findall(r"\| a step .* (\d) \|$", table, re.MULTILINE) == ["1", "2", "2"]


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
    """The page holds the form of every table, with targets that are met and that are not."""
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
