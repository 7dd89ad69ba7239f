"""Shared by the sweeps tests: one local Ray cluster, and the smallest real study, done without a break."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from portal.results import PREDICTIONS, RESULTS, read_table
from sweeps.launch.driver import run_study
from sweeps.launch.ray_session import OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from sweeps.results.tables import collect
from sweeps.store.run_store import Store
from sweeps.study.expand import Study, load_study
from sweeps.study.manifest import record_roster

TINY = """
name: tiny
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  base: {}
  lora: {size: 8, train: {epochs: 2, lr: 1e-3}, curve: {sizes: [4]}}
  source:
    size: 8
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 2}
  portal: {size: 8, train: {epochs: 2}}
"""


class Interruption(BaseException):
    """Ends a launch on the spot, as a kill does: nothing of ours catches it and nothing is saved."""


@dataclass(frozen=True)
class Tables:
    """What a study ends in: scores without times, predictions, and the bytes of every trained tensor."""

    results: pa.Table
    predictions: pa.Table
    weights: dict[str, bytes]


def tables_of(study: Study, out: Path) -> Tables:
    folder = collect(study.roster, out)
    results = read_table(folder / "results.parquet", RESULTS)
    weights = {
        f"{path.relative_to(out)} {name}": tensor.numpy().tobytes()
        for key in sorted(study.by_key)
        for path in sorted(Store(out).run_folder(key).rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    return Tables(
        results.drop_columns(["wall_s"]), read_table(folder / "predictions.parquet", PREDICTIONS), weights
    )


def silent() -> Console:
    return Console(file=Path(os.devnull).open("w"), force_terminal=False)


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
    record_roster(out, tiny_study.roster)
    return out


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The one local cluster of the test session; its address."""
    import ray

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
