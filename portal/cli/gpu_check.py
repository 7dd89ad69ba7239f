"""`portal gpu-check`: whether a machine computes right, and how fast, before a study runs on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import options
from portal.cli.exit_codes import FAILED

if TYPE_CHECKING:
    from sweeps.gpu_check.finding import Finding
    from sweeps.gpu_check.rates import Rates


def gpu_check(
    device: options.Device = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for gpu-check.json; its disk is measured, too."),
    ] = Path("portal-gpu-check"),
    shape: Annotated[
        str | None,
        options.base_option(
            "Time steps and scoring on a base of this one's shape, with random weights; 8b is qwen3-8b. "
            "Default: qwen3-1.7b on a GPU, mini-qwen3-m on a CPU, smollm2-135m for bf16 there."
        ),
    ] = None,
    base: Annotated[
        str | None, options.base_option("Time steps and scoring on this base, with its own weights.")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Use so many GPUs for the lines of several workers. Default: all of them."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check a device: numbers against the CPU in fp32, resume, rates, steps, scoring, memory.

    Each line is PASS, WARN, FAIL or SKIP with its value and bound. Needs no download. Plans and launches of
    this machine read what was measured. Exit code 3 when a line failed. In a checkout, `make test-gpu` checks
    more: packs, teams, attention, answers, bases over several GPUs, quantised ones, loading, checkpoints.
    """
    if base is not None and shape is not None:
        raise ValueError("--base names a base with its weights, --shape one without: give one of the two")
    from portal.device import unusable_gpus
    from sweeps.gpu_check.check import RECORD, check_device

    if device is None and (unusable := unusable_gpus()):
        raise ValueError(f"{'; '.join(unusable)}; or check the CPU with --device cpu")

    def tell(check: str, finding: "Finding") -> None:
        if not as_json:
            typer.echo(f"{finding}")

    record = check_device(options.chosen_device(device), out, tell, shape=shape, base=base, gpus=gpus)
    if as_json:
        typer.echo(json.dumps(record.to_json()))
    else:
        for line in _rate_lines(record.rates) if record.rates is not None else ():
            typer.echo(line)
        paces = {
            "steps take": (record.pace, record.bf16_pace),
            "scoring takes": (record.scoring_pace, record.bf16_scoring_pace),
        }
        for what, (usual, in_bf16) in paces.items():
            beside = "" if in_bf16 is None else f", {in_bf16:.2f} with bases in bf16"
            if usual is not None:
                typer.echo(f"pace  {what} {usual:.2f} times as long as predicted{beside}")
        verdict = "no line failed" if record.passed else "some lines failed"
        typer.echo(f"{record.name}: {verdict}, {record.wall_s:.0f} s; {out / RECORD}")
    if not record.passed:
        raise typer.Exit(FAILED)


def _rate_lines(rates: "Rates") -> list[str]:
    """What was measured, in the units that people know."""
    named = [
        ("products in fp32", rates.fp32_flops, 1e9, "GFLOP/s"),
        ("products in TF32", rates.tf32_flops, 1e9, "GFLOP/s"),
        ("products in bf16", rates.bf16_flops, 1e9, "GFLOP/s"),
        ("copies on the device", rates.copy_bytes_per_s, 1e9, "GB/s"),
        ("uploads to the device", rates.upload_bytes_per_s, 1e9, "GB/s"),
        ("launch of an operation", rates.launch_s, 1e-6, "µs"),
        ("writes to the output's disk", rates.write_bytes_per_s, 1e6, "MB/s"),
    ]
    return [f"rate  {what}: {value / each:.3g} {unit}" for what, value, each, unit in named if value]
