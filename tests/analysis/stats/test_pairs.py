"""Cells that two studies share are compared over the same documents and seeds."""

from pathlib import Path

import pytest

from analysis.stats.findings import load_findings
from analysis.stats.pairs import find_pairs
from tests.support.result_tables import study_with_port


def test_differences_are_those_of_the_two_tables_and_paired(tmp_path: Path) -> None:
    first, second = (
        load_findings(study_with_port(rate).write(tmp_path / name))
        for name, rate in (("a", 0.6), ("b", 0.75))
    )
    pairs = {pair.cell.method: pair for pair in find_pairs((first, second), "big")}
    port, lora = pairs["portal"], pairs["lora"]
    means = [summary.acc.known for summary in port.summaries if summary is not None]
    assert port.difference.value == pytest.approx(means[1] - means[0])
    assert port.difference.excludes_zero
    assert port.num_seeds == 3
    assert (lora.difference.value, lora.difference.low, lora.difference.high) == (0, 0, 0)
