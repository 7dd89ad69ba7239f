"""Search: on validation rows alone, resumable to the same trials, and its best is a study already trained."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from analysis.report.html import ReportOptions
from analysis.report.one_study import study_document
from analysis.stats.findings import load_findings
from portal.cli import main
from portal.learners.base import Learner
from portal.results import RESULTS, read_table
from portal.search_record import read_search
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.results.snapshot import collect_snapshot
from sweeps.search.run_search import SearchPlan, SearchResult, run_search
from sweeps.sinks.alerts import Alerts
from sweeps.store.run_store import RunStore
from sweeps.study.expand import load_study
from sweeps.worker.pack_checkpoint import PackCheckpoint
from tests.support.alert_server import AlertServer, alert_server
from tests.support.studies import Interruption, silent

LORA = """
name: tune
suite: mini
tasks: [fact_qa, counting]
eval_size: 8
seeds: [0, 1]
targets: [mini-qwen3-xs]
methods:
  base: {}
  lora: {size: 8, adapter: {rank: 2}, train: {epochs: 3}}
search:
  method: lora
  trials: 6
  parallel: 3
  metric: log_loss
  prune: null
  space:
    lora.train.lr: {low: 1e-4, high: 1e-1, log: true}
    lora.train.schedule: [constant, linear]
    lora.adapter.modules: [[q], [q, v]]
    lora.size: {low: 4, high: 8}
"""
PORT = """
name: tune-port
suite: mini
tasks: [fact_qa]
eval_size: 4
seeds: [0]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  source:
    size: 4
    adapter: {rank: 2}
    hypernet: {d_latent: 8, d_layer: 4, hidden: 16, d_core: 8}
    train: {epochs: 1}
  portal: {size: 4, train: {epochs: 1}}
search:
  method: portal
  trials: 4
  parallel: 4
  space:
    portal.train.lr: [1e-3, 1e-2]
    source.adapter.rank: [1, 2]
"""


@pytest.fixture
def server() -> Iterator[AlertServer]:
    with alert_server() as server:
        yield server


def search(text: str, folder: Path, server: AlertServer | None = None) -> SearchResult:
    path = folder / "search.yaml"
    path.write_text(text)
    alerts = None if server is None else Alerts((server.url,))
    return run_search(SearchPlan(path), folder / "out", executor="local", console=silent(), alerts=alerts)


def command_for(text: str, folder: Path) -> list[str]:
    """The command that runs the search of this text."""
    (folder / "search.yaml").write_text(text)
    return [
        "sweep", "search", str(folder / "search.yaml"), "--out", str(folder / "out"), "--executor", "local",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    """A folder in which a search has ended, and its result."""
    folder = tmp_path_factory.mktemp("tuned")
    with alert_server() as server:
        outcome = search(LORA, folder, server)
        assert search(LORA, folder, server).trials == outcome.trials
    assert [posted["text"] for posted in server.posted] == [  # then nothing was left to do
        "tune: the search ended; 6 trials; 6 complete, 0 pruned, 0 fail"
    ]
    return folder, outcome


@pytest.mark.slow
def test_a_trials_value_is_its_validation_mean_and_the_best_one_is_a_study_that_is_trained(
    tuned: tuple[Path, SearchResult],
) -> None:
    folder, outcome = tuned
    out = folder / "out"

    assert [trial.state for trial in outcome.trials] == ["complete"] * 6
    values = [trial.value for trial in outcome.trials]
    assert values == sorted(values)
    assert outcome.best is not None
    best = load_study(outcome.best)
    assert best.name == "tune-best"
    assert {*best.settings.methods} == {"base", "lora"}
    store = RunStore(out)
    tables = [
        read_table(store.run_folder(run.key) / "results.parquet", RESULTS)
        for run in best.runs
        if run.method == "lora"
    ]
    rows = [row for table in tables for row in table.to_pylist()]
    losses = [row["log_loss"] for row in rows if (row["split"], row["epoch"]) == ("validation", 3)]
    assert len(losses) == 4
    assert sum(losses) / 4 == pytest.approx(values[0])
    again = run_study(best, out, executor="local", console=silent())
    assert (again.is_done, again.trained) == (True, 1)  # the base, which the search had no use for
    stored = optuna.load_study(study_name="tune", storage=outcome.storage)
    assert len(stored.trials) == 6
    assert stored.best_value == values[0]
    assert outcome.record.unknown == "6 complete trials are too few, it takes 12"
    assert outcome.record.logarithmic == ("lora.train.lr",)
    assert read_search(out / "search") == outcome.record
    findings = load_findings(collect_snapshot(best.manifest, out))
    assert findings.search == outcome.record
    titles = [section.title for section in study_document(findings, ReportOptions(title="t")).sections]
    assert titles[0] == "Which setting mattered"


@pytest.mark.slow
def test_a_search_broken_off_again_and_again_makes_the_same_trials(
    tuned: tuple[Path, SearchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, taken, breaks = Pack.step, 0, 0

    def break_off(pack: Pack) -> int:
        nonlocal taken
        taken += 1
        if taken % 9 == 0:
            raise Interruption
        return step(pack)

    monkeypatch.setattr(Pack, "step", break_off)
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
    found = None
    while found is None:
        try:
            found = search(LORA, tmp_path)
        except Interruption:
            breaks += 1
            assert breaks < 50

    assert breaks >= 2
    assert found.trials == tuned[1].trials


@pytest.mark.slow
def test_what_falls_behind_is_stopped_and_can_be_trained_to_its_end_later(
    tmp_path: Path, server: AlertServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.search.run_search.WATCH_S", 0.02)
    text = LORA.replace("epochs: 3", "epochs: 16").replace("parallel: 3", "parallel: 6")
    text = text.replace("prune: null", "prune: {min_epochs: 2, factor: 2}").replace(", counting]", "]")

    outcome = search(text, tmp_path, server)

    assert [posted["kind"] for posted in server.posted] == ["ended"]  # what a search stops has not failed
    pruned = [trial for trial in outcome.trials if trial.state == "pruned"]
    complete = [trial for trial in outcome.trials if trial.state == "complete"]
    assert pruned
    assert complete
    assert {trial.epoch for trial in complete} == {16}
    assert all(trial.epoch is not None and trial.epoch < 16 for trial in pruned)
    store = RunStore(tmp_path / "out")
    failures = [failure for run in store.begun() if (failure := store.failure(run.key)) is not None]
    assert len(pruned) <= len(failures) <= 2 * len(pruned)  # a seed may have ended before
    assert all("stopped by a search at epoch" in failure.cause and failure.lost for failure in failures)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("method: lora\n", "method: laro\n", "search.method: no method 'laro'; did you mean 'lora'?"),
        ("method: lora\n", "method: base\n", "search.method: method 'base' does not train"),
        ("train.lr:", "train.lrs:", "search.space.lora.train.lrs: no such setting; did you mean 'lr'?"),
        ("lora.train.lr:", "base.train.lr:", "'base' has no part in 'lora'"),
        ("lora.train.lr:", "lora.seeds:", "METHOD.PART.FIELD or METHOD.size, with PART one of"),
        ("low: 1e-4", "low: 1.0", "low 1.0 is not below high 0.1"),
        ("low: 1e-4", "low: -1.0", "a logarithmic range is above 0 and has no step"),
        ("linear]", "lineal]", "schedule: unknown schedule 'lineal'; did you mean 'linear'?"),
        ("low: 4, high: 8", "low: 4.0, high: 8.0", "whole numbers: write its ends as such"),
        ("low: 4, high: 8", "low: 4, high: 8, step: 0.5", "whole numbers have a whole step, not 0.5"),
        ("low: 4, high: 8", "low: 4, high: 8, step: -1", "step -1 is not above 0"),
        ("[[q], [q, v]]", "[[q], [q, w]]", "lora.adapter.modules.1"),
        ("[constant, linear]", "[constant]", "a list of at least two different values, or a range"),
        ("low: 4, high: 8", "low: 0, high: 8", "greater than or equal to 1"),
        ("trials: 6", "trails: 6", "search.trails: unknown key; did you mean 'trials'?"),
        ("modules: [[q], [q, v]]", "rank: [2, 4096]", "rank 4096 is above the width"),
    ],
)
def test_a_mistake_in_a_search_file_is_one_line_before_any_trial(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in LORA
    assert main(command_for(LORA.replace(old, new), tmp_path)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "runs").exists()


def test_a_method_with_an_empty_part_can_be_searched(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(LORA.replace("train: {epochs: 3}", "train: null"))

    assert SearchPlan(path).trial({"lora.train.lr": 0.5}).methods["lora"].train is not None


@pytest.mark.slow
def test_a_trial_whose_worker_is_lost_goes_on_with_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = command_for(LORA.replace("trials: 6\n  parallel: 3", "trials: 2\n  parallel: 2"), tmp_path)

    def lose(state: PackCheckpoint, learner: Learner, check_permit: Callable[[], None], *, log: str) -> None:
        store = RunStore(tmp_path / "out")
        store.mark_failed(learner.key, "its worker died twice", tmp_path / "log", lost=True)

    with monkeypatch.context() as patch:
        patch.setattr(PackCheckpoint, "finish", lose)
        assert main(command) == 3
    printed = capsys.readouterr()
    assert "2 trials; 0 complete, 0 pruned, 0 fail, 2 not ended" in printed.out
    assert "trials 0, 1 lost their workers" in printed.err

    assert main(command) == 0
    assert "2 trials; 2 complete" in capsys.readouterr().out


@pytest.mark.slow
def test_a_port_is_searched_with_its_source_further_trials_train_what_is_new_and_another_search_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, out = PORT.replace("trials: 4", "trials: 1"), tmp_path / "out"
    search(small, tmp_path)

    assert main([*command_for(small, tmp_path), "--trials", "4"]) == 0
    printed = capsys.readouterr().out
    assert main(command_for(small.replace("eval_size: 4", "eval_size: 5"), tmp_path)) == 2

    assert "search tune-port: 4 trials; 4 complete, 0 pruned, 0 fail" in printed
    assert f"portal sweep run {out / 'search' / 'best.yaml'} --out {out}" in printed
    assert "holds trials of 'tune-port' with other settings" in capsys.readouterr().err
    record = read_search(out / "search")
    assert record is not None
    settings = {tuple(trial.settings.items()) for trial in record.trials}
    sources = {trial.settings["source.adapter.rank"] for trial in record.trials}
    assert len(list(out.glob("runs/*/DONE.json"))) == len(settings) + len(sources)


def test_the_best_study_finds_the_searchs_task_file_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "elsewhere").mkdir()
    rows = [{"prompt": f"{n} + 1 =", "choices": [f" {n + 1}", f" {n + 2}"], "gold": 0} for n in range(40)]
    (tmp_path / "study" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = (
        LORA.replace("[fact_qa, counting]", "[sums.jsonl]")
        .replace("trials: 6", "trials: 1")
        .replace("epochs: 3", "epochs: 1")
    )
    monkeypatch.chdir(tmp_path / "elsewhere")

    found = search(text, tmp_path / "study")

    assert found.best is not None
    monkeypatch.chdir(tmp_path)
    best = load_study(found.best)
    assert best.tasks == ("sums",)
    store = RunStore(tmp_path / "study" / "out")
    assert all(store.is_done(run.key) for run in best.runs if run.method == "lora")


def test_a_metric_that_written_answers_lack_is_refused_before_anything_runs(tmp_path: Path) -> None:
    text = LORA.replace("suite: mini", "suite: ledger").replace("[fact_qa, counting]", "[home_1]")
    with pytest.raises(ValueError, match="task 'home_1' has written answers and no acc_norm; use score"):
        search(text.replace("metric: log_loss", "metric: acc_norm"), tmp_path)
    assert not list((tmp_path / "out").glob("runs/*"))
