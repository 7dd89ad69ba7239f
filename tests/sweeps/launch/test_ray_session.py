"""A Ray that does not start is said in one line; other faults are not dressed up as that."""

import io
import os
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from portal.bases.precision import check_precision, cpu_has_bf16
from portal.config import BaseRef
from sweeps.launch.executors import Wanted
from sweeps.launch.ray_session import nodes_refusing, ray_session
from sweeps.planning.checks import check_cpus
from tests.support.precision import cpu_with
from tests.support.studies import silent

needs_bf16 = partial(check_precision, "bf16", "cpu")
on_cpus = partial(nodes_refusing, device="cpu")


def refuse_to_start(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def init(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # the cluster of other tests
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_rays_bare_exception_becomes_one_line_and_any_other_surfaces_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = "the head node timed out more); the machine may be too busy"
    for raised, told in (
        ("the head node timed out\nmore", busy),
        ("Cannot include dashboard", "Cannot include dashboard); log: "),
    ):
        refuse_to_start(monkeypatch, Exception(raised))
        with pytest.raises(OSError) as caught, ray_session(tmp_path, silent(), Wanted()):
            pass
        assert str(caught.value).startswith(f"Ray did not start ({told}")
        assert "\n" not in str(caught.value)

    refuse_to_start(monkeypatch, AssertionError("ours"))
    with pytest.raises(AssertionError, match="ours"), ray_session(tmp_path, silent(), Wanted()):
        pass


def test_a_temporary_folder_whose_path_is_too_long_for_rays_sockets_is_left_for_one_that_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def init(**options: Any) -> None:
        asked.append(options["_temp_dir"])
        raise OSError("seen")

    deep, short = tmp_path / ("d" * 60), Path(tempfile.mkdtemp(dir="/tmp"))
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setattr("sweeps.launch.ray_session._SHORT", short)
    refuse_to_start(monkeypatch, OSError())
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(OSError, match="seen"), ray_session(tmp_path / "out", silent(), Wanted()):
        pass
    short.rmdir()  # nothing is left there
    with (
        pytest.raises(OSError, match=f"{deep} is [0-9]+ bytes too long for its sockets, and {short} cannot"),
        ray_session(tmp_path / "out", silent(), Wanted()),
    ):
        pass

    assert [Path(folder).parent for folder in asked] == [short]
    assert not [*deep.iterdir()]


def test_a_ray_of_this_machine_has_the_cores_of_this_process_and_blocks_of_gpu_memory_that_grow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, object] = {}

    def init(**options: object) -> None:
        asked.update(options, blocks=os.environ["PYTORCH_ALLOC_CONF"])
        raise OSError("seen")

    refuse_to_start(monkeypatch, OSError())
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {3})

    with pytest.raises(OSError, match="seen"), ray_session(tmp_path, silent(), Wanted("cpu")):
        pass

    assert (asked["num_cpus"], asked["blocks"]) == (1, "expandable_segments:True")


def test_gpus_of_nodes_without_cpus_are_not_waited_for_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A head that was started with no CPUs counts its GPUs all the same."""
    head, worker = {"GPU": 8.0}, {"GPU": 4.0, "CPU": 16.0}
    there = [{"Alive": True, "Resources": each} for each in (head, worker)]
    lines = Console(file=io.StringIO(), width=200)
    monkeypatch.setenv("RAY_ADDRESS", "a cluster")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr("sweeps.launch.ray_session.request_resources", lambda **_: None)

    def wait(_seconds: float) -> None:
        raise TimeoutError

    monkeypatch.setattr("time.sleep", wait)

    with pytest.raises(TimeoutError), ray_session(tmp_path, lines, Wanted("cuda", 8)):
        pass

    assert isinstance(lines.file, io.StringIO)
    assert lines.file.getvalue() == (
        "waiting for GPUs: 4 of 8 have joined the cluster; 8 more are on nodes without CPUs for workers\n"
    )


@pytest.mark.ray
def test_a_ray_of_this_machine_alone_is_as_able_as_this_machine_and_nodes_of_a_cluster_are_asked_themselves(
    ray_cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = cpu_has_bf16()
    with cpu_with("amx_bf16"):
        assert nodes_refusing(needs_bf16, "cpu") == {}
        assert nodes_refusing(partial(int, "none"), "cuda") == {}  # no node has a GPU
    with cpu_with("amx_tile"):
        (host,) = nodes_refusing(needs_bf16, "cpu")
        with pytest.raises(ValueError, match=f"on a CPU, and {re.escape(host)} has neither"):
            check_cpus([BaseRef(name="base", revision="0", precision="bf16")], on_cpus)
    with ray_session(tmp_path, silent(), Wanted("cpu")) as found:
        assert found.device == "cpu"
    with (
        pytest.raises(ValueError, match="2 GPUs are wanted, and Ray finds 0 on this machine"),
        ray_session(tmp_path, silent(), Wanted("cuda", 2)),
    ):
        pass

    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)
    with cpu_with():  # of the driver, which does not count
        assert (nodes_refusing(needs_bf16, "cpu") == {}) == able
