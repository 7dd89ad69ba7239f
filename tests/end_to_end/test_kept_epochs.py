"""The evaluation that a worker keeps is the one that analysis finds best in the tables."""

from pathlib import Path

import pytest

from analysis.stats.aggregate import SelectionError, best_epochs
from analysis.stats.result_table import Run, gather_runs, load_results
from portal.artifacts.model_card import read_run_record
from portal.cli import main
from portal.results import RESULTS_FILE
from sweeps.launch.driver import run_study
from sweeps.results.snapshot import collect
from sweeps.store.run_store import RunStore
from sweeps.study.expand import load_study
from tests.support.counts import nightly
from tests.support.result_tables import row, to_table
from tests.support.studies import silent

STUDY = """
name: kept
suite: mini
tasks: [fact_qa, counting]
eval_size: 24
seeds: [0]
sources: [mini-qwen3-xs, mini-gemma3]
targets: [mini-qwen3-s]
methods:
  base: {}
  lora: {size: 16, train: {epochs: 12, lr: 1e-1, keep: best_validation}}
  zero_lora: {}
  source:
    size: 8
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 12, lr: 3e-2, keep: best_validation}
  portal: {size: 8, train: {epochs: 2}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("test_scores", ["kept", *nightly("every_evaluation")])
def test_workers_keep_what_analysis_recomputes_and_say_so_in_the_table(
    tmp_path: Path, test_scores: str
) -> None:
    keep = "keep: best_validation"
    (tmp_path / "kept.yaml").write_text(STUDY.replace(keep, f"{keep}, test_scores: {test_scores}"))
    study, out = load_study(tmp_path / "kept.yaml"), tmp_path / "out"
    assert run_study(study, out, executor="local", console=silent()).is_done
    by_key: dict[str, list[Run]] = {}
    for run in load_results(collect(study.manifest, out) / RESULTS_FILE, {}, 1.0).runs:
        by_key.setdefault(run.key, []).append(run)

    chosen = {}
    for key, runs in by_key.items():
        config, recorded = study.by_key[key], {task: e for run in runs for task, e in run.kept.items()}
        if config.method == "base":
            assert recorded == {}
            continue
        assert set(recorded) == {"fact_qa", "counting"}
        record = read_run_record(RunStore(out).run_folder(key) / "artifact")
        assert record is not None
        assert record.epochs == recorded
        if config.train is None:
            assert set(recorded.values()) == {0}
        elif config.train.keep == "last":
            assert set(recorded.values()) == {config.train.epochs}
        else:
            chosen[config.method] = recorded
            assert recorded == best_epochs(runs)
            assert all(run.kept == recorded for run in runs)
    assert len(by_key[next(key for key, run in study.by_key.items() if run.method == "source")]) == 2
    for recorded in chosen.values():
        assert set(recorded.values()) - {12}, f"the last epoch is best for every task: {chosen}"
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    for key, runs in by_key.items():
        if (method := study.by_key[key].method) in chosen:
            reported = {
                (epoch, task) for run in runs for epoch, own in run.scores["test"].items() for task in own
            }
            ends = {(epoch, task) for task, kept in chosen[method].items() for epoch in (kept, 12)}
            assert (reported == ends) == (test_scores == "kept")


def best_of(method: str, scores: dict[tuple[str, str, int], tuple[float, float]]) -> dict[str, int]:
    """The best epochs of a run from (base, task, epoch) -> (acc_norm, log_loss) on validation rows."""
    rows = [
        row(method=method, base=base, task=task, epoch=epoch, split="validation", kept=task != "unseen",
            acc_norm=acc, log_loss=loss, seed=0, size=8)
        for (base, task, epoch), (acc, loss) in scores.items()
    ]  # fmt: skip
    return best_epochs(list(gather_runs(to_table(rows)).runs))


def test_bases_and_tasks_that_train_together_vote_together_on_epochs_of_training() -> None:
    source, lora = {
        ("big", "a", 1): (0.9, 1.0), ("small", "a", 1): (0.1, 1.0), ("big", "unseen", 1): (1.0, 0.1),
        ("big", "a", 2): (0.6, 2.0), ("small", "a", 2): (0.6, 2.0), ("big", "unseen", 2): (0.0, 9.0),
        ("big", "a", 3): (0.6, 2.0), ("small", "a", 3): (0.6, 2.0), ("big", "unseen", 3): (0.9, 0.1),
    }, {
        ("big", "a", 1): (0.9, 1.0), ("big", "b", 1): (0.1, 1.0),
        ("big", "a", 2): (0.6, 1.0), ("big", "b", 2): (0.6, 1.0),
    }  # fmt: skip

    assert best_of("source", source) == {"a": 2}
    assert best_of("lora", lora) == {"a": 1, "b": 2}
    with pytest.raises(SelectionError, match="no validation rows to choose an epoch on"):
        best_of("lora", {("big", "a", 0): (0.9, 1.0)})
