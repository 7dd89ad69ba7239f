"""The command refuses what it cannot check, and checks this CPU whole."""

import json
from pathlib import Path

import huggingface_hub
import pytest

from portal.cli import main
from sweeps.gpu_check import neighbours
from sweeps.gpu_check.check import RECORD
from tests.support.counts import CHAOS
from tests.support.findings import quick_step_times, shorten_check


def test_what_cannot_be_checked_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = "--base names a base with its weights, --shape one without"
    for options, message in {
        "--base mini-qwen3-xs --shape mini-qwen3-m": both,
        "--gpus 2": "--gpus 2: this machine has 0 that can be checked on 'cpu'",
    }.items():
        command = f"gpu-check --device cpu --out {tmp_path}/out {options}"
        assert main(command.split()) == 2
        assert not (tmp_path / "out").exists()
        assert message in capsys.readouterr().err


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
    assert not any(line.startswith("FAIL") for line in lines)
    assert sum(line.startswith(("PASS", "WARN")) for line in lines) > 25  # WARN: speeds of a busy machine
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["findings"].keys() == {"gradients", "scores", "resume", "speed"}
    for each in (each for found in record["findings"].values() for each in found):
        assert any(line.startswith(f"{each['level']}  {each['what']}") for line in lines)
