"""The table of all benchmarks as Markdown, with the machine and the date."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.comparison import HEADERS, Comparison, seconds
from benchmarks.pack_scaling import Point, slope_bytes

BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end -->"


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """One table of comparisons, then the pack's cost by size."""
    machines = {tuple(sorted(record["machine"].items())): record["machine"] for record in records}
    lines = [_caption(machine) for machine in machines.values()]
    dates = sorted({record["date"] for record in records})
    lines += ["", f"Measured {dates[0]}" + (f" to {dates[-1]}" if len(dates) > 1 else "") + ".", ""]
    comparisons = [Comparison.from_json(line) for record in records for line in record.get("comparisons", [])]
    lines += _table(HEADERS, [comparison.cells() for comparison in comparisons])
    notes = [f"- {each.what}: {each.note}." for each in comparisons if each.note]
    lines += ["", *notes] if notes else []
    points = [Point(**point) for record in records for point in record.get("points", [])]
    for base in dict.fromkeys(point.base for point in points):
        lines += ["", *_scaling(base, [point for point in points if point.base == base])]
    return "\n".join(lines) + "\n"


def publish(document: str, table: str) -> str:
    """`document` with `table` between its marks."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _caption(machine: Mapping[str, str]) -> str:
    versions = ", ".join(
        f"{name} {machine[name]}" for name in machine if name not in ("processor", "cores", "memory")
    )
    return f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}; {versions}."


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _scaling(base: str, points: Sequence[Point]) -> list[str]:
    rows = [
        (
            str(point.size),
            seconds(point.step_s),
            seconds(point.step_s / point.size),
            f"{point.peak_bytes / 2**20:.0f} MiB",
            f"{point.predicted_bytes / 2**20:.0f} MiB",
        )
        for point in points
    ]
    headers = ("learners", "a step", "a learner's share", "peak memory beside the base", "predicted")
    slope = slope_bytes(list(points)) / 2**20
    return [
        f"A pack on {base} as it grows (LoRA r8 on q and v, one task, 4 rows): {slope:.2f} MiB a learner.",
        "",
        *_table(headers, rows),
    ]
