"""Artifacts that a study has left: parents first, those of more rows last, each with its base's scores."""

from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.artifacts.registry import Registry
from portal.results import RESULTS, RESULTS_FILE, read_table
from sweeps.results.run_artifacts import artifact_scores, run_artifacts
from sweeps.store.run_store import RunStore
from tests.support.bases import TASKS, make_run


def test_parents_come_before_ports_and_few_rows_before_many(finished: Path) -> None:
    store = RunStore(finished)
    portable = [run for run in map(store.read_run, store.finished_keys()) if run.spec.artifact == "portable"]

    found = [Artifact.load(folder).record.lineage for folder in run_artifacts(finished)]

    sizes = {run.key: run.data.size for run in portable}
    assert {each.run for each in found} == set(sizes)
    order = [(each.method == "portal", sizes[each.run]) for each in found]
    assert order == sorted(order)
    assert len({each.method for each in found}) > 1


def test_more_rows_and_more_calibrated_tasks_come_last_and_controls_not_at_all(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    half = {"size": 16, "calibrated": TASKS[:1]}
    wanted = [
        make_run("source", "small", data={"size": None}),
        make_run("portal", "small", data={"size": 4}),
        make_run("portal", "small", data=half),
        make_run("portal", "small", data={"size": 16}),
        make_run("portal", "small", data={"size": None}),
    ]
    for run in (*wanted, make_run("nearest_latent", "small"), make_run("lora", "small")):
        store.write_run(run)
        (tmp_path / "runs" / run.key / "artifact").mkdir()
        (tmp_path / "runs" / run.key / "artifact" / "config.json").write_text("{}")
        store.mark_done(run.key)

    assert [folder.parent.name for folder in run_artifacts(tmp_path)] == [run.key for run in wanted]


def test_scores_are_those_of_the_artifacts_own_base_at_the_end(finished: Path) -> None:
    for folder in run_artifacts(finished):
        lineage = Artifact.load(folder).record.lineage
        rows = read_table(RunStore(finished).run_folder(lineage.run) / RESULTS_FILE, RESULTS).to_pylist()
        of_test = [row for row in rows if row["split"] == "test" and row["base"] == lineage.base.name]
        last = max(row["epoch"] for row in of_test)
        own = {row["task"]: row["acc_norm"] for row in of_test if row["epoch"] == last}

        scores = artifact_scores(folder)

        assert own
        assert {task: score.score for task, score in scores.items()} == own


def test_an_artifact_that_is_no_runs_has_no_scores(finished: Path, tmp_path: Path) -> None:
    member = Registry(tmp_path).add(run_artifacts(finished)[0])

    assert artifact_scores(Path(str(member.folder))) == {}
