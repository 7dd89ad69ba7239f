"""A small base, adapters of two slots on it, and programs that may run."""

from pathlib import Path

import pytest

from portal.bases.base import Base, load_base
from portal.evaluate.code_sandbox import ALLOWED, check_sandbox
from portal.hypernet import Factors
from tests.support.bases import random_factors


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("mini-qwen3-xs")


@pytest.fixture(scope="module")
def factors(base: Base) -> Factors:
    return random_factors(base, ("q", "v"), rank=2, slots=2, seed=1)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that a model has written run; the test is skipped where they cannot."""
    monkeypatch.setenv(ALLOWED, "1")
    try:
        check_sandbox()
    except ValueError as error:
        pytest.skip(f"no sandbox on this machine: {error}")


@pytest.fixture
def failing_bubblewrap(allowed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From here on bubblewrap, which worked before, starts no program."""
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: Resource temporarily unavailable' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
