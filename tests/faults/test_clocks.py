"""Clocks decide nothing: one place reads the time, to show it; the newest state is not the youngest file."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from portal.artifacts.registry import ADDED, Registry
from portal.config import AdapterConfig
from portal.storage.atomic import json_bytes
from portal.storage.checkpoint import load_latest, save_checkpoint
from tests.support.artifacts import write_artifact
from tests.support.bases import make_base
from tests.support.markdown import ROOT

pytestmark = pytest.mark.slow

CLOCK = re.compile(
    r"\btime\.(time(_ns)?|localtime|gmtime)\(|datetime\.(now|today)\(|\.st_[mca]time\b|\bget[mca]time\("
)
ONLY_SHOWN = {"portal/artifacts/registry.py": 1, "sweeps/sinks/alerts.py": 1}
"""Files that read a clock, and how often."""


def test_no_module_reads_the_time_of_day_or_of_a_file_but_to_show_it() -> None:
    paths = [path for package in ("portal", "sweeps", "cluster") for path in (ROOT / package).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix(): len(CLOCK.findall(path.read_text())) for path in paths}

    assert len(paths) > 100
    assert {name: number for name, number in found.items() if number} == ONLY_SHOWN


def test_a_registry_whose_writers_had_wrong_clocks_has_the_same_order(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    for name in ("first", "second"):
        write_artifact(tmp_path / name, make_base(name, "llama"), AdapterConfig(rank=2, alpha=6))
    members = [registry.add(tmp_path / name) for name in ("first", "second")]
    for member, year in zip(members, (2031, 1999), strict=True):
        path = member.folder / ADDED
        path.write_bytes(
            json_bytes(json.loads(path.read_bytes()) | {"added": f"{year}-01-01T00:00:00+00:00"})
        )

    found = registry.members()

    assert [member.added.year for member in found] == [2031, 1999]
    assert [member.digest for member in found] == [member.digest for member in members]


def test_a_checkpoint_from_the_future_or_the_past_is_as_old_as_its_number(tmp_path: Path) -> None:
    for sequence, written in ((1, 4e9), (2, 0.0)):
        folder = save_checkpoint(tmp_path, sequence, {"w": torch.zeros(1)}, {"step": sequence})
        for path in (*folder.iterdir(), folder):
            os.utime(path, (written, written))

    found = load_latest(tmp_path)

    assert found is not None
    assert found.meta == {"step": 2}
