"""`python -m benchmarks.gpu`: packs on bases of real shapes, beside forecasts and peers.

Every shape runs in a process of its own. Needs no download: the weights are random. On a machine without a
GPU the shapes are those of embedded bases, and the figures show no more than that it works.
"""

import argparse
import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.apart import run_apart
from benchmarks.gpu.packs import measure_packs
from benchmarks.gpu.peers import compare_with_peers
from benchmarks.gpu.table import render
from benchmarks.machine import describe_machine
from benchmarks.table import show, show_in
from portal.bases.registry import known_bases, published_config
from portal.device import release_memory, torch_threads
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.planning.devices import local_hardware, plain_cpu

SHAPES = {
    "cuda": ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "gemma-3-4b"),
    "cpu": ("mini-qwen3-xs", "mini-gemma3"),
}
ENVIRONMENT = {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "TEARDOWN_CUPTI": "1"}
"""GPU memory as studies have it, and a profiler that leaves no trace in what is timed after it."""


def main() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "shapes", nargs="*", metavar="SHAPE", help=f"bases; default: {', '.join(SHAPES[kind])}"
    )
    parser.add_argument("--out", type=Path, default=Path("portal-bench-gpu"), help="folder of the results")
    parser.add_argument("--document", type=Path, help="a Markdown file to write the tables into")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.shapes[0], torch.device(kind), arguments.out)
        return
    shapes = arguments.shapes or SHAPES[kind]
    unknown = [shape for shape in shapes if published_config(shape) is None and shape not in known_bases()]
    if unknown:
        parser.error(f"no base whose sizes are known: {unknown[0]!r}")
    for shape in shapes:
        _result(arguments.out, shape).unlink(missing_ok=True)  # no earlier one is shown as new
    try:
        run_apart("benchmarks.gpu", shapes, arguments.out, ENVIRONMENT)
    finally:
        _show(arguments, shapes)


def _show(arguments: argparse.Namespace, shapes: Sequence[str]) -> None:
    """Print the tables of the shapes that are measured, and write them into the document."""
    paths = [_result(arguments.out, shape) for shape in shapes]
    records = [json.loads(path.read_text()) for path in paths if path.is_file()]
    if records:
        table = render(records)
        show(table, arguments.out)
        if arguments.document is not None:
            show_in(arguments.document, table)


def measure(shape: str, device: torch.device, out: Path) -> None:
    """Measure one shape on the device and write `SHAPE.json` into `out`."""
    planned = local_hardware() if device.type == "cuda" else plain_cpu(1)
    record: dict[str, Any] = {
        "machine": describe_machine(),
        "date": datetime.date.today().isoformat(),
        "points": [],
        "comparisons": [],
    }
    with torch_threads(1):
        world = ShapeWorld(random_base(shape, device))
        for point in measure_packs(world, planned, out):
            record["points"].append(asdict(point))
            _write(record, shape, out)  # what is measured stays, whatever comes after it
        del world
        release_memory()
        for line in compare_with_peers(shape, device):
            record["comparisons"].append(line.to_json())
            _write(record, shape, out)


def _write(record: dict[str, Any], shape: str, out: Path) -> None:
    _result(out, shape).write_text(json.dumps(record, indent=1))


def _result(out: Path, shape: str) -> Path:
    return out / f"{shape}.json"


if __name__ == "__main__":
    main()
