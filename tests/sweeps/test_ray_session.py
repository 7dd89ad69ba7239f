"""A Ray that does not start is said in one line; other faults are not dressed up as that."""

from pathlib import Path

import pytest
import ray

from sweeps.ray_session import ray_session
from tests.sweeps.conftest import silent


def refuse_to_start(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def init(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_rays_bare_exception_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_start(monkeypatch, Exception("the head node timed out\nmore"))

    with pytest.raises(OSError) as caught, ray_session(tmp_path, silent()):
        pass

    assert str(caught.value).startswith("Ray did not start (the head node timed out); ")
    assert "\n" not in str(caught.value)


def test_any_other_fault_of_rays_start_surfaces_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_start(monkeypatch, AssertionError("ours"))

    with pytest.raises(AssertionError, match="ours"), ray_session(tmp_path, silent()):
        pass
