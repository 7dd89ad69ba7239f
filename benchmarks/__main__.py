"""`python -m benchmarks [NAME ...]`: run benchmarks one after the other, each in a process of its own."""

import argparse
import datetime
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    bf16_widths,
    checkpoints,
    demo,
    digests,
    forecast,
    generation,
    lora,
    pack_scaling,
    padding,
    report,
    scoring,
    simulation,
    study_scaling,
    task_scaling,
    teaching,
    training_round,
    written_answers,
)
from benchmarks.apart import run_apart
from benchmarks.comparison import Comparison
from benchmarks.machine import describe_machine
from benchmarks.table import render, show, show_in
from portal.device import usable_cores

COMPARISONS: dict[str, Callable[[], list[Comparison]]] = {
    "round-smollm2": training_round.smollm2,
    "round-smollm2-bf16": training_round.smollm2_bf16,
    "round-embedded": training_round.embedded,
    "lora-packed": lora.packed,
    "lora-single-embedded": lora.single_embedded,
    "lora-single-smollm2": lora.single_smollm2,
    "generation": generation.generation,
    "scoring": scoring.scoring,
    "scoring-bf16": scoring.scoring_bf16,
    "written-answers": written_answers.written_answers,
    "demo": demo.demo,
}
SCALES: dict[str, Callable[[], Sequence[Any]]] = {
    "task-scaling": task_scaling.task_scaling,
    "checkpoints": checkpoints.checkpoints,
    "teaching": teaching.teaching,
    "digests": digests.digests,
    "padding": padding.padding,
    "pack-scaling": pack_scaling.pack_scaling,
    "bf16-widths": bf16_widths.bf16_widths,
    "study-scaling": study_scaling.study_scaling,
    "simulation": simulation.simulation,
    "report": report.report,
    **{f"forecast-{study}": partial(forecast.forecast, study) for study in forecast.STUDIES},
}
NAMES = (*COMPARISONS, *SCALES)
DEFAULT = tuple(name for name in NAMES if not name.startswith("forecast-"))
"""Without those that take hours."""
MEASURED = Path(__file__).parent / "measured"
"""What docs/benchmarks.md shows: a call with --document puts its own results in the place of earlier ones.

Points are read by the names of their fields: who renames one renames it here, too.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)}; default: all but forecast-*, which take hours",
    )
    parser.add_argument("--out", type=Path, default=Path("portal-bench"), help="folder of the results")
    parser.add_argument("--document", type=Path, help="a Markdown file to write the table into")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(NAMES))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; known: {', '.join(NAMES)}")
    if arguments.here:
        _run(arguments.names[0], arguments.out)
        return
    names = arguments.names or DEFAULT
    try:
        run_apart("benchmarks", names, arguments.out)
    finally:
        if records := read_records(arguments.out):
            show(render(records), arguments.out)
    if arguments.document is not None:
        keep(names, arguments.out, MEASURED)
        show_in(arguments.document, render(read_records(MEASURED)))


def _run(name: str, out: Path) -> None:
    torch.set_num_threads(usable_cores())
    record: dict[str, Any] = {
        "name": name,
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
    }
    if name in COMPARISONS:
        record["comparisons"] = [line.to_json() for line in COMPARISONS[name]()]
    else:
        record["points"] = [asdict(point) for point in SCALES[name]()]
    (out / f"{name}.json").write_text(json.dumps(record, indent=1))


def keep(names: Iterable[str], out: Path, kept: Path) -> None:
    """Copy what was measured to the results that the page shows, in the place of earlier ones."""
    kept.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(out / f"{name}.json", kept / f"{name}.json")


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All results of a folder, in the order of the benchmarks."""
    paths = [folder / f"{name}.json" for name in NAMES]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


if __name__ == "__main__":
    main()
