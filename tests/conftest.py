"""Fixtures of all tests: one thread, no GPU, one local Ray cluster, the smallest real study, done."""

# ruff: noqa: E402
from tests.support.environment import enter_environment, reason_without_gpu, start_patiently

enter_environment()
import gc
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from portal.cli import main
from sweeps.launch.driver import run_study
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_manifest
from tests.support.built import built_once
from tests.support.command_line import Portal
from tests.support.studies import TINY, Tables, silent, tables_of
from tests.support.world import name_bases, write_world


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections of garbage, of which packs make many, pass it over."""
    gc.collect()
    gc.freeze()


SLOW = Path(__file__).parent / "slow.txt"
"""Names of tests that were measured to take more than a second: they are slow, as those with the mark are."""
settings.register_profile("busy machine", deadline=None, database=None)
settings.load_profile("busy machine")
torch.set_num_threads(1)  # fixtures of a wider scope than a test come before the fixture below


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever an earlier test has left."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Plans would read what gpu-check has measured on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.hookimpl(tryfirst=True)  # before tests are left out by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    measured = {*SLOW.read_text().split()}
    for item in items:
        if item.name.partition("[")[0] in measured:
            item.add_marker(pytest.mark.slow)
    if reason := reason_without_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `portal demo` (ten minutes)."""
    out = tmp_path_factory.mktemp("demo") / "portal-demo"
    told = io.StringIO()
    with redirect_stdout(told):
        assert main(["demo", "--out", str(out)]) == 0
    assert f"report: {out / 'report' / 'index.html'}" in told.getvalue()
    return out


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    """A study file of nine runs."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(TINY)
    return load_study(path)


@pytest.fixture(scope="session")
def unbroken(tiny_study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    """The output folder and the tables of a launch that nothing interrupted."""

    def launch(out: Path) -> None:
        outcome = run_study(tiny_study, out, executor="local", console=silent())
        assert (outcome.is_done, outcome.done, outcome.trained) == (True, 9, 9)

    out = tmp_path_factory.mktemp("process") / "unbroken"
    shutil.copytree(built_once("unbroken", launch), out)  # some tests launch it again
    return out, tables_of(tiny_study, out)


@pytest.fixture
def finished(unbroken: tuple[Path, Tables], tiny_study: Study, tmp_path: Path) -> Path:
    """A copy of an output folder whose study is done."""
    out = Path(shutil.copytree(unbroken[0], tmp_path / "finished"))
    record_manifest(out, tiny_study.manifest)
    return out


@pytest.fixture(scope="session")
def trained_world() -> Path:
    """A folder with tasks, bases of three families, a source trained on two and its port to the third."""
    return built_once("world", write_world)


@pytest.fixture
def world(trained_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trained world, its bases known by the names tiny-qwen3, tiny-llama and tiny-gemma3; read only."""
    name_bases(trained_world, monkeypatch)
    return trained_world


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Portal:
    monkeypatch.chdir(tmp_path)
    return Portal(capsys)


@pytest.fixture
def new_tasks(world: Path, tmp_path: Path) -> Path:
    """A folder with the tasks of the world, and one of them under another name."""
    folder = tmp_path / "data"
    shutil.copytree(world / "data", folder)
    shutil.copytree(world / "data" / "sums", folder / "totals")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The one local cluster of the test session; its address."""
    import ray

    from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT, quoted_python

    os.environ.update(RAY_ENVIRONMENT)
    folder = tempfile.mkdtemp(prefix="pr-", dir="/tmp")
    context = start_patiently(
        lambda: ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=True,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=folder,
            runtime_env=quoted_python(),
        ),
        ray.shutdown,
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
