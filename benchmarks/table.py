"""The tables of all benchmarks as Markdown, with the machine and the date."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    bf16_widths,
    checkpoints,
    digests,
    forecast,
    pack_scaling,
    padding,
    report,
    simulation,
    study_scaling,
    task_scaling,
    teaching,
)
from benchmarks.comparison import HEADERS, Comparison, seconds
from sweeps.planning.cost_model import duration

BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end -->"
_COLUMNS = 110
"""Columns of a line of prose; the rows of a table are as long as they are."""


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """The machines, one table of comparisons, then a section of every other kind of benchmark.

    Where there are several machines, each figure says on which it was measured.
    """
    machines: list[Mapping[str, str]] = []
    for record in records:
        if record["machine"] not in machines:
            machines.append(record["machine"])
    lines = []
    for number, machine in enumerate(machines, 1):
        dates = sorted({record["date"] for record in records if record["machine"] == machine})
        measured = f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}."
        of_several = f"Machine {number}: " if len(machines) > 1 else ""
        lines += [f"{of_several}{caption(machine)}", "", measured, ""]
    lines += _comparisons(records, machines)
    for prefix, kind, section in _SECTIONS:
        named = [record for record in records if record["name"].startswith(prefix) and "points" in record]
        for number, machine in enumerate(machines, 1):
            own = [record["points"] for record in named if record["machine"] == machine]
            if points := [kind(**point) for each in own for point in each]:
                lines += ["", *section(points)]
                lines += ["", f"On machine {number}."] if len(machines) > 1 else []
    return "\n".join(part for line in lines for part in wrapped(line)) + "\n"


def _comparisons(records: Sequence[Mapping[str, Any]], machines: Sequence[Mapping[str, str]]) -> list[str]:
    found = [
        (Comparison.from_json(line), str(1 + machines.index(record["machine"])))
        for record in records
        for line in record.get("comparisons", [])
    ]
    if not found:
        return []
    several = len(machines) > 1
    rows = [(*each.cells(), *([machine] if several else [])) for each, machine in found]
    lines = markdown_table((*HEADERS, *(["machine"] if several else [])), rows)
    notes = [f"- {each.what}: {each.note}." for each, _ in found if each.note]
    return [*lines, "", *notes] if notes else lines


def show(table: str, out: Path) -> None:
    """Print the table and keep it in `out`."""
    path = out / "table.md"
    path.write_text(table)
    print(f"\n{table}\n{path}")


def show_in(document: Path, table: str) -> None:
    """Write the table into the document."""
    document.write_text(publish(document.read_text(), table))


def publish(document: str, table: str) -> str:
    """`document` with `table` between its marks."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table}{END}{after}"


def wrapped(line: str) -> list[str]:
    """A line of prose as lines of at most `_COLUMNS`, an item of a list with its indent."""
    if line.startswith("|") or not line:
        return [line]
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(
        line, _COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def caption(machine: Mapping[str, str]) -> str:
    versions = ", ".join(
        f"{name} {machine[name]}" for name in machine if name not in ("gpu", "processor", "cores", "memory")
    )
    gpu = f"{machine['gpu']}; " if "gpu" in machine else ""
    return f"{gpu}{machine['processor']}, {machine['cores']} cores, {machine['memory']}; {versions}."


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _tasks(points: Sequence[task_scaling.Point]) -> list[str]:
    rows = [
        (
            str(point.tasks),
            str(point.threads),
            seconds(point.step_s),
            f"{100 * point.python_share:.1f} %",
            f"{point.scored:.0f}",
            f"{point.peak_bytes / 2**20:.0f} MiB",
            f"{point.predicted_bytes / 2**20:.0f} MiB",
        )
        for point in points
    ]
    most = max(point.tasks for point in points)
    headers = ("tasks", "threads", "step", "in Python", "scored rows per s", "peak memory", "predicted")
    met = all(point.python_share <= task_scaling.TARGET for point in points if point.tasks == most)
    return [
        f"A step of joint training on {task_scaling.BASE} (all modules r8, {task_scaling.BATCH} rows per "
        f"task) as its tasks grow: the share of it that is spent in Python (target: at most "
        f"{100 * task_scaling.TARGET:.0f} % with {most} tasks: {_met(met)}).",
        "",
        *markdown_table(headers, rows),
    ]


def _stops(points: Sequence[checkpoints.Point]) -> list[str]:
    rows = [
        (
            str(point.size),
            f"{point.bytes / 2**20:.0f} MiB",
            seconds(point.write_s),
            seconds(point.stop_s),
            f"{100 * point.stopped:.2f} %",
            seconds(point.step_s),
            seconds(point.beside_s),
        )
        for point in points
    ]
    headers = ("learners", "checkpoint", "written in", "training stops", "of the time", "step", "meanwhile")
    met = all(point.stopped <= checkpoints.TARGET for point in points)
    return [
        f"A pack on {checkpoints.BASE} (LoRAs of all tasks, all modules r16) and its checkpoints, of which "
        f"there is one every {checkpoints.CHECKPOINT_S:.0f} s, or {checkpoints.CHECKPOINT_RATIO} times as "
        f"long as one takes: training may stop for {100 * checkpoints.TARGET:.0f} % of the time "
        f"({_met(met)}).",
        "",
        *markdown_table(headers, rows),
    ]


def _taught(points: Sequence[teaching.Point]) -> list[str]:
    rows = [
        (
            point.core,
            str(point.rows),
            f"{seconds(point.startup_s)} ({_met(point.startup_s <= teaching.START_UP_S)})",
            f"{seconds(point.total_s)} ({_met(point.total_s <= teaching.TOTAL_S)})",
        )
        for point in points
    ]
    return [
        f"`portal teach`, one new task on {teaching.BASE}, a process each, medians over {points[0].repeats}: "
        f"at most {teaching.START_UP_S:.0f} s until its first line of progress, and {teaching.TOTAL_S:.0f} s "
        "in all. `widths` says whose widths the source's hypernetwork has.",
        "",
        *markdown_table(("widths", "rows", "first progress", "in all"), rows),
    ]


def _pages(points: Sequence[report.Point]) -> list[str]:
    rows = [
        (
            point.study,
            str(point.runs),
            f"{point.test_rows:,}",
            seconds(point.write_s),
            f"{point.peak_bytes / 1e9:.1f} GB",
            f"{point.page_bytes / 1e6:.1f} MB ({_met(point.page_bytes < report.PAGE_BYTES)})",
            "no browser here"
            if point.open_s is None
            else f"{seconds(point.open_s)} ({_met(point.open_s < report.OPEN_S)})",
        )
        for point in points
    ]
    return [
        "The report of a study with made-up answers: the page is to stay under "
        f"{report.PAGE_BYTES / 1e6:.0f} MB and to open in {report.OPEN_S:.0f} s in a browser that has not "
        "seen it.",
        "",
        *markdown_table(("study", "runs", "test rows", "to write", "memory", "page", "to open"), rows),
    ]


def _digests(points: Sequence[digests.Point]) -> list[str]:
    rows = [
        (
            f"{point.num_bytes / 2**30:.0f} GiB",
            str(point.files),
            seconds(point.one_s),
            seconds(point.all_s),
            f"{point.ratio:.2f} ({_met(point.ratio <= digests.TARGET)})",
        )
        for point in points
    ]
    return [
        f"A base's digest, which workers of a node wait for before they train: one process, and the last of "
        f"{points[0].lanes} that begin together, medians over {points[0].repeats} (target: at most "
        f"{digests.TARGET:g} times as long).",
        "",
        *markdown_table(("weights", "files", "one", f"last of {points[0].lanes}", "ratio"), rows),
    ]


def _forecasts(points: Sequence[forecast.Point]) -> list[str]:
    low, high = forecast.BOUNDS
    rows = [
        (
            point.study,
            ", ".join(f"{pace:.2f}" for pace in (point.pace, point.bf16_pace) if pace is not None),
            duration(point.predicted_s / 3600),
            duration(point.measured_s / 3600),
            f"{point.ratio:.2f} ({_met(low <= point.ratio <= high)})",
            "-" if point.predicted_after_s is None else duration(point.predicted_after_s / 3600),
            "-"
            if point.check_s is None
            else f"{duration(point.check_s / 3600)} ({_met(point.check_s <= forecast.CHECK_S)})",
        )
        for point in points
    ]
    parts = [f"`{point.study}`" for point in points if "--seed" in forecast.STUDIES[point.study]]
    seeds = f" The runs of one seed stand for {' and '.join(parts)}." if parts else ""
    return [
        f"Studies from start to end, as `portal sweep plan` predicts them at the pace that `portal gpu-check "
        f"--device cpu` has measured just before, and as they were: predicted over measured from {low:g} to "
        f"{high:g}.{seeds} Paces are those of steps on a base in fp32 and, where the CPU has it, in bf16; "
        "scoring has its own. `predicted after` is with a check made after the study; `check` is what the "
        f"first one took, where that was noted; at most {duration(forecast.CHECK_S / 3600)}.",
        "",
        *markdown_table(
            ("study", "pace", "predicted", "measured", "predicted over measured", "predicted after", "check"),
            rows,
        ),
    ]


def _padded(points: Sequence[padding.Point]) -> list[str]:
    of_packs: dict[tuple[str, str, str], dict[int, padding.Point]] = {}
    for point in points:
        of_packs.setdefault((point.base, point.gpu, point.modules), {})[point.learners] = point
    counts = sorted({point.learners for point in points})
    rows = [(*place, *(_padding_cell(found[count]) for count in counts)) for place, found in of_packs.items()]
    worst = max(p.padded for p in points if p.base == points[0].base and p.learners == counts[-1])
    return [
        f"A step on a GPU as it is planned, by count: padded tokens per real one, behind them the longer of "
        f"launches and padded tokens, per real token, and the forwards. Rows of the fourteen tasks, "
        f"{padding.BATCH} per task; products at the rates of data sheets, and 8 µs per launch. Target: at "
        f"most {padding.TARGET:g} on {points[0].base} with {counts[-1]} learners ({worst:.2f}: "
        f"{_met(worst <= padding.TARGET)}).",
        "",
        *markdown_table(("base", "GPU", "adapted", *(f"learners: {count}" for count in counts)), rows),
    ]


def _padding_cell(point: padding.Point) -> str:
    return f"{point.padded:.2f} / {point.bound:.2f} / {point.forwards:.1f}"


def _packs(points: Sequence[pack_scaling.Point]) -> list[str]:
    of_bases = [
        [point for point in points if point.base == base]
        for base in dict.fromkeys(point.base for point in points)
    ]
    sections = [line for own in of_bases for line in ("", *_grown(own))]
    return sections[1:]


def _grown(points: Sequence[pack_scaling.Point]) -> list[str]:
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
    headers = ("learners", "step", "step per learner", "peak memory beside the base", "predicted")
    slope = pack_scaling.slope_bytes(list(points)) / 2**20
    return [
        f"A pack on {points[0].base} as it grows (LoRA r8 on q and v, one task, 4 rows): {slope:.2f} MiB per "
        "learner.",
        "",
        *markdown_table(headers, rows),
    ]


def _widths(points: Sequence[bf16_widths.Point]) -> list[str]:
    rows = [
        (
            str(point.width),
            str(point.threads),
            *(seconds(point.step_s[name]) for name in ("fp32", "bf16")),
            f"{point.step_gain:.2f}x",
            *(seconds(point.score_s[name]) for name in ("fp32", "bf16")),
            f"{point.score_gain:.2f}x",
        )
        for point in points
    ]
    headers = (
        "hidden width",
        "threads",
        "step, fp32",
        "step, bf16",
        "gain",
        "scoring, fp32",
        "scoring, bf16",
        "gain",
    )
    return [
        "A frozen base in bf16 on this CPU as it gets wider (Qwen3's shape, six layers, random weights; LoRA "
        "r8 on q and v, eight tasks, 4 rows of about 50 tokens; 64 rows scored), in CPU time of all threads.",
        "",
        *markdown_table(headers, rows),
    ]


def _studies(points: Sequence[study_scaling.Point]) -> list[str]:
    rows = [
        (
            str(point.size),
            seconds(point.wall_s),
            seconds(point.driver_s),
            f"{point.peak_bytes / 2**20:.0f} MiB",
        )
        for point in points
    ]
    wall_s, driver_s = study_scaling.growth(list(points))
    met = wall_s < study_scaling.TARGET_S and points[-1].peak_bytes < study_scaling.TARGET_BYTES
    return [
        "A study of runs of one step each, two lanes on a local Ray: another run adds "
        f"{seconds(wall_s)} of wall time, {seconds(driver_s)} of the driver's CPU time among it "
        f"(target: under {seconds(study_scaling.TARGET_S)} per run, the driver under 1 GiB: {_met(met)}).",
        "",
        *markdown_table(("runs", "wall time", "the driver's CPU time", "the driver's peak memory"), rows),
    ]


def _simulated(points: Sequence[simulation.Point]) -> list[str]:
    ratios = [point.makespan_s / point.lower_bound_s for point in points]
    rows = [
        (
            f"{point.runs:,}",
            str(point.gpus),
            f"{point.packs:,}",
            duration(point.makespan_s / 3600),
            duration(point.lower_bound_s / 3600),
            f"{ratio:.3f}" + ("" if ratio <= simulation.TARGET else " (not met)"),
            seconds(point.plan_s),
        )
        for point, ratio in zip(points, ratios, strict=True)
    ]
    return [
        "The paper's whole study (shipped as `paper`), and the same with seeds for 50,000 runs, on B200s as "
        "the cost model has them: from start to end, beside the least that any order could take "
        f"(target: at most {simulation.TARGET} times as much).",
        "",
        *markdown_table(("runs", "GPUs", "packs", "makespan", "lower bound", "ratio", "planning took"), rows),
    ]


def _met(met: bool) -> str:
    return "met" if met else "not met"


_SECTIONS: tuple[tuple[str, Callable[..., Any], Callable[[Any], list[str]]], ...] = (
    ("task-scaling", task_scaling.Point, _tasks),
    ("checkpoints", checkpoints.Point, _stops),
    ("teaching", teaching.Point, _taught),
    ("digests", digests.Point, _digests),
    ("forecast-", forecast.Point, _forecasts),
    ("padding", padding.Point, _padded),
    ("pack-scaling", pack_scaling.Point, _packs),
    ("bf16-widths", bf16_widths.Point, _widths),
    ("study-scaling", study_scaling.Point, _studies),
    ("simulation", simulation.Point, _simulated),
    ("report", report.Point, _pages),
)
"""What a benchmark's name begins with, its points, and what shows them, in the order of the page."""
