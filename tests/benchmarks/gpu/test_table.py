"""The tables of the GPU benchmarks say what was measured, and on which card."""

from dataclasses import asdict, replace

from benchmarks.comparison import Comparison
from benchmarks.gpu.packs import Point
from benchmarks.gpu.table import render
from benchmarks.measure import Ratio

POINT = Point(
    shape="qwen3-8b", adapted="q and v", learners=8, step_s=0.5, predicted_s=0.4, real_tokens=20_000,
    padded_tokens=25_000, forwards=7.2, launches=58_600, busy=0.93, peak_bytes=60 * 2**30,
    predicted_bytes=64 * 2**30, checkpoint_bytes=800 * 2**20, stop_s=0.05, write_s=3.0, scored_rows=1792,
    scoring_s=2.0,
)  # fmt: skip
MACHINE = {
    "gpu": "NVIDIA B200, 180 GiB", "processor": "x86", "cores": "16", "memory": "128 GiB", "torch": "2",
}  # fmt: skip


def test_tables_have_rates_shares_and_what_was_planned() -> None:
    line = Comparison("step", "peft", None, Ratio(2.0, 1.9, 2.1, 0.5, 1.0, 15))
    record = {
        "machine": MACHINE,
        "date": "2026-11-28",
        "points": [asdict(POINT), asdict(replace(POINT, learners=1, peak_bytes=None))],
        "comparisons": [line.to_json()],
    }

    lines = render([record]).splitlines()

    assert lines[0] == "NVIDIA B200, 180 GiB; x86, 16 cores, 128 GiB; torch 2."
    assert (
        "| qwen3-8b | q and v | 8 | 500 ms | 1.25x | 40,000 | 50,000 | 1.25 | 7.2 | 58,600 | 93 % | 60.0 GiB "
        "| 0.94x |"
    ) in lines
    assert any(row.startswith("| qwen3-8b | q and v | 1 |") and row.endswith("| - | - |") for row in lines)
    assert "| qwen3-8b | q and v | 8 | 800 MiB | 50 ms | 3.00 s | 896 |" in lines
    assert any("2.00x (1.90-2.10)" in row for row in lines)
