"""A stand-in for the tool of NVIDIA's driver, which a machine without a GPU does not have."""

import os
from pathlib import Path

import pytest

from portal import device


def put_driver_tool(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An `nvidia-smi` that runs this shell script is the first that a process finds."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(device, "_DRIVER_S", 600.0)  # a busy machine starts it late
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
