"""The command refuses what it cannot check, and checks this CPU whole."""

import json
from pathlib import Path

import huggingface_hub
import pytest

from portal.bases.precision import cpu_has_bf16
from portal.cli import main
from sweeps.gpu_check import neighbours
from sweeps.gpu_check.check import RECORD
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET
from tests.support.command_line import Portal
from tests.support.counts import CHAOS
from tests.support.findings import quick_step_times, shorten_check


def test_what_cannot_be_checked_is_refused_before_anything_is_written(portal: Portal) -> None:
    both = "--base names a base with its weights, --shape one without"
    for options, message in {
        "--base mini-qwen3-xs --shape mini-qwen3-m": both,
        "--gpus 2": "--gpus 2: this machine has 0 that can be checked on 'cpu'",
    }.items():
        assert message in portal.refusal(f"gpu-check --device cpu --out out {options}"), options
        assert not Path("out").exists()


BASES = (TARGET, SLIDING)
ON_EVERY_CPU = {
    *(f"{base}, {label}: gradient of a step in fp32" for base in BASES for label in LABELS),
    *(f"{base}: scores in fp32" for base in BASES),
    *(f"{label}: tensors that a checkpoint did not bring back" for label in LABELS),
    *(f"{label}: gradient after a resume" for label in LABELS),
    "mini-qwen3-xs, q and v, 1 learner: a step of",
    "mini-qwen3-xs: scoring of",
}
"""How lines begin that are there on every CPU."""
IN_BF16 = {
    *(f"{base}, {label}: cosine of the gradient in bf16" for base in BASES for label in LABELS),
    *(f"{base}: rows led by over 0.3 nats" for base in BASES),
    *(f"{base}: rows whose likeliest choices tie in bf16" for base in BASES),
    "mini-qwen3-xs in bf16: scoring of",
}
WITHOUT_BF16 = {
    f"{what}; needs AVX512-BF16 or AMX-BF16, which this CPU lacks"
    for what in ("gradients in bf16", "scores in bf16", "mini-qwen3-xs in bf16: steps and scoring")
}
"""Lines in place of those, on a CPU without bf16."""


@pytest.mark.slow
def test_this_cpu_passes_all_checks_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(neighbours, "step_times", quick_step_times)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if not CHAOS:
        shorten_check(monkeypatch)

    assert main(["gpu-check", "--device", "cpu", "--shape", "mini-qwen3-xs", "--out", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    found = [(line[:4], line[6:]) for line in lines]
    assert {level for level, _ in found}.isdisjoint({"FAIL"})
    passed = {each for each in ON_EVERY_CPU | IN_BF16 if any(what.startswith(each) for _, what in found)}
    skipped = {what for level, what in found if level == "SKIP"}
    assert (passed, skipped) == (
        (ON_EVERY_CPU | IN_BF16, set()) if cpu_has_bf16() else (ON_EVERY_CPU, WITHOUT_BF16)
    )
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["findings"].keys() == {"gradients", "scores", "resume", "speed"}
    for each in (each for found in record["findings"].values() for each in found):
        assert any(line.startswith(f"{each['level']}  {each['what']}") for line in lines)
