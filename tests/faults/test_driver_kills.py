"""The driver of twelve runs is killed at random, again and again; tables are those of an unbroken study.

At each commit a smaller study is killed three times (tests/sweeps/worker/test_lane.py).
"""

from pathlib import Path

import pytest

from sweeps.launch.driver import run_study
from sweeps.study.expand import Study, load_study
from tests.support.counts import CHAOS, times
from tests.support.kills import kill_and_end
from tests.support.studies import TINY, assert_same, silent, tables_of

pytestmark = pytest.mark.nightly

KILLS = times(25, nightly=25)


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
    launch(study, tmp_path / "unbroken")
    expected = tables_of(study, tmp_path / "unbroken")
    kills, rounds = 0, 0
    while kills < KILLS:
        out, rounds = tmp_path / f"broken-{rounds}", rounds + 1
        kills += kill_and_end(launch, study, out, kills=KILLS - kills, seed=rounds)
        assert_same(tables_of(study, out), expected)
