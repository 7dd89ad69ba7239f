"""The driver of twelve runs is killed at random, again and again; tables are those of an unbroken study."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from sweeps.launch.driver import run_study
from sweeps.study.expand import Study, load_study
from tests.support.counts import CHAOS, times
from tests.support.studies import TINY, silent, tables_of

pytestmark = pytest.mark.slow

KILLS = times(3, nightly=25)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Twelve runs of every kind that trains."""
    path = tmp_path_factory.mktemp("study") / "twelve.yaml"
    hypernet = "adapter: {rank: 4, alpha: 8}, hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}"
    path.write_text(
        TINY.rstrip().replace(
            "base: {}", f"base: {{}}\n  hypernet: {{size: 8, {hypernet}, train: {{epochs: 2}}}}"
        )
        + "\n  cross_lora: {seeds: [0], source_base: mini-qwen3-s, targets: [mini-qwen3-s]}\n"
    )
    loaded = load_study(path)
    assert len(loaded.runs) == 12
    return loaded


def launch(study: Study, out: Path) -> None:
    run_study(study, out, executor="local", console=silent())


@pytest.mark.timeout(900 * max(1, CHAOS))
def test_a_study_whose_driver_is_killed_at_random_ends_as_an_unbroken_one(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.01")
    started = time.monotonic()
    launch(study, tmp_path / "unbroken")
    whole_s = time.monotonic() - started  # on a busy machine as much longer as what is killed
    expected = tables_of(study, tmp_path / "unbroken")
    moments = random.Random(1)
    kills, rounds = 0, 0
    while kills < KILLS:
        out, patience_s = tmp_path / f"broken-{rounds}", whole_s
        rounds += 1
        while True:
            driver = multiprocessing.get_context("fork").Process(target=launch, args=(study, out))
            driver.start()
            driver.join(patience_s * moments.uniform(0.03, 0.35))
            patience_s *= 1.05  # it ends on a machine that has become slower, too
            if not driver.is_alive():
                assert driver.exitcode == 0
                break
            assert driver.pid is not None
            os.kill(driver.pid, signal.SIGKILL)
            driver.join()
            kills += 1
        found = tables_of(study, out)
        assert found.results.equals(expected.results)
        assert found.predictions.equals(expected.predictions)
        assert found.weights == expected.weights
