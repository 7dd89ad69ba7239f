"""Fixtures of all tests: one thread, no GPU, one local Ray cluster, the smallest real study, done.

A GPU is hidden unless PORTAL_TEST_GPU=1: tests compare to the last bit, which a GPU does not allow.
"""

import os

if os.environ.get("PORTAL_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from sweeps.launch.driver import run_study
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_manifest
from tests.support.studies import TINY, Tables, silent, tables_of

settings.register_profile("busy machine", deadline=None, database=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def one_core() -> Iterator[None]:
    """The executor `local` has a thread a core; the unbroken study had one thread."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


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
    out = tmp_path_factory.mktemp("unbroken")
    outcome = run_study(tiny_study, out, executor="local", console=silent())
    assert (outcome.exit_code, outcome.done, outcome.trained) == (0, 9, 9)
    return out, tables_of(tiny_study, out)


@pytest.fixture
def finished(unbroken: tuple[Path, Tables], tiny_study: Study, tmp_path: Path) -> Path:
    """A copy of an output folder whose study is done."""
    out = Path(shutil.copytree(unbroken[0], tmp_path / "finished"))
    record_manifest(out, tiny_study.manifest)
    return out


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The one local cluster of the test session; its address."""
    import ray

    from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT

    os.environ.update(RAY_ENVIRONMENT)
    folder = tempfile.mkdtemp(prefix="pr-")
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=folder,
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
