"""Clocks decide nothing: no code reads the time of day, and the newest state is not the youngest file."""

import ast
import os
from pathlib import Path

import pytest
import torch

import cluster
import portal
import sweeps
from portal.storage.checkpoint import load_latest, save_checkpoint

pytestmark = pytest.mark.slow

WALL_CLOCK = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.today"}
FILE_TIMES = {"st_mtime", "st_ctime", "st_atime", "getmtime", "getctime"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_no_module_reads_the_time_of_day_or_of_a_file() -> None:
    folders = [Path(package.__file__ or "").parent for package in (portal, sweeps, cluster)]
    found = [
        f"{path.name}:{node.lineno} {dotted(node)}"
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (any(dotted(node).endswith(name) for name in WALL_CLOCK) or node.attr in FILE_TIMES)
    ]

    assert sum(len([*folder.rglob("*.py")]) for folder in folders) > 100
    assert found == []


def test_a_checkpoint_from_the_future_or_the_past_is_as_old_as_its_number(tmp_path: Path) -> None:
    for sequence, written in ((1, 4e9), (2, 0.0)):
        folder = save_checkpoint(tmp_path, sequence, {"w": torch.zeros(1)}, {"step": sequence})
        for path in (*folder.iterdir(), folder):
            os.utime(path, (written, written))

    found = load_latest(tmp_path)

    assert found is not None
    assert found.meta == {"step": 2}
