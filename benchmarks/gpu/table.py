"""The tables of the GPU benchmarks as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.comparison import HEADERS, Comparison, seconds
from benchmarks.gpu.packs import Point
from benchmarks.table import caption, markdown_table, wrapped

_HEADERS = (
    *("base", "adapted", "learners", "step", "over the forecast", "real tokens/s", "padded tokens/s"),
    *("padded per real", "forwards", "launches", "busy", "peak memory", "over the plan"),
)
_BETWEEN = ("base", "adapted", "learners", "checkpoint", "training stops", "written in", "rows scored/s")


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """The machine, then steps, then what lies between them, then peers."""
    machines = {tuple(sorted(record["machine"].items())): record["machine"] for record in records}
    dates = sorted({record["date"] for record in records})
    lines = [caption(machine) for machine in machines.values()]
    lines += ["", f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.", ""]
    points = [Point(**point) for record in records for point in record["points"]]
    lines += ["Steps of packs of LoRA hypernets of the fourteen tasks, four rows each:", ""]
    lines += markdown_table(_HEADERS, [_step(point) for point in points])
    lines += ["", "Checkpoints of these packs, and the scoring of one learner's adapters:", ""]
    lines += markdown_table(_BETWEEN, [_between(point) for point in points])
    comparisons = [Comparison.from_json(line) for record in records for line in record["comparisons"]]
    lines += ["", "One learner of all tasks beside peers, in turns in one process, on the same rows:", ""]
    lines += markdown_table(HEADERS, [comparison.cells() for comparison in comparisons])
    return "\n".join(part for line in lines for part in wrapped(line)) + "\n"


def _place(point: Point) -> tuple[str, ...]:
    return point.shape, point.adapted, str(point.learners)


def _step(point: Point) -> tuple[str, ...]:
    memory = ("-", "-")
    if point.peak_bytes is not None:
        memory = (f"{point.peak_bytes / 2**30:.1f} GiB", f"{point.peak_bytes / point.predicted_bytes:.2f}x")
    return (
        *_place(point),
        seconds(point.step_s),
        f"{point.step_s / point.predicted_s:.2f}x",
        f"{point.real_tokens / point.step_s:,.0f}",
        f"{point.padded_tokens / point.step_s:,.0f}",
        f"{point.padded_tokens / point.real_tokens:.2f}",
        f"{point.forwards:.1f}",
        f"{point.launches:,}",
        f"{100 * point.busy:.0f} %",
        *memory,
    )


def _between(point: Point) -> tuple[str, ...]:
    return (
        *_place(point),
        f"{point.checkpoint_bytes / 2**20:,.0f} MiB",
        *("no room" if each is None else seconds(each) for each in (point.stop_s, point.write_s)),
        f"{point.scored_rows / point.scoring_s:,.0f}",
    )
