"""A context is opened once, with each base in one precision; a study is then expanded without reading."""

import json
from pathlib import Path

import pytest

from portal.bases import precision
from portal.cli.app import main
from portal.storage.records import read_yaml
from sweeps.launch.driver import run_study
from sweeps.launch.single_run import TrainRequest, source_run
from sweeps.search.run_search import SearchPlan, run_search
from sweeps.store.output_folder import PRECISIONS_FILE, keep_precisions, kept_precisions
from sweeps.store.run_store import RunStore
from sweeps.study import context as contexts
from sweeps.study.context import StudyContext, resolve_precisions
from sweeps.study.expand import expand, load_study
from sweeps.study.study_file import StudyFile
from tests.support.precision import cpu_with
from tests.support.studies import TINY, silent

SEARCH = """
search:
  method: lora
  trials: 3
  parallel: 1
  prune: null
  space: {lora.train.lr: [1e-4, 1e-3, 1e-2], lora.adapter.rank: [1, 2]}
"""


def settings_of(path: Path) -> StudyFile:
    return StudyFile.model_validate(read_yaml(path))


def test_a_study_is_expanded_without_its_rows(tmp_path: Path) -> None:
    rows = tmp_path / "sums.jsonl"
    lines = [{"prompt": f"{n} + 1 =", "choices": [f" {n + 1}", f" {n + 2}"], "gold": 0} for n in range(40)]
    rows.write_text("\n".join(map(json.dumps, lines)))
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("[fact_qa, counting]", f"[{rows}]"))
    study, context = load_study(path), StudyContext.open(settings_of(path))
    rows.unlink()

    again = expand(settings_of(path), context)

    assert (again.runs, again.labels, again.tasks) == (study.runs, study.labels, ("sums",))


def test_a_mistake_in_a_name_is_found_before_a_row_is_read_and_another_studys_context_is_refused(
    study_path: Path, tmp_path: Path
) -> None:
    context = StudyContext.open(settings_of(study_path))
    study_path.write_text(TINY.replace("[fact_qa, counting]", "[fact_qa]"))
    with pytest.raises(AssertionError, match="the context is another study's"):
        expand(settings_of(study_path), context)

    study_path.write_text(TINY.replace("lora: {", "laro: {").replace("suite: mini", f"suite: {tmp_path}"))
    with pytest.raises(ValueError, match="unknown method 'laro'; did you mean 'lora'"):
        StudyContext.open(settings_of(study_path))


@pytest.mark.slow
def test_a_search_reads_its_rows_once_for_all_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[tuple[str, ...]] = []
    examples_hash = contexts.examples_hash

    def counted(suite, tasks):  # type: ignore[no-untyped-def]
        hashed.append(tuple(tasks))
        return examples_hash(suite, tasks)

    monkeypatch.setattr(contexts, "examples_hash", counted)
    path = tmp_path / "search.yaml"
    text = TINY[: TINY.index("  source:")].replace("curve: {sizes: [4]}", "adapter: {rank: 2}")
    path.write_text(text.replace("seeds: [0, 1]", "seeds: [0]") + SEARCH)

    found = run_search(SearchPlan(path), tmp_path / "out", executor="local")

    assert [trial.state for trial in found.trials] == ["complete"] * 3
    assert hashed == [("fact_qa", "counting")]


AUTO = TINY[: TINY.index("  source:")].replace("seeds: [0, 1]", "seeds: [0]\nprecision: auto")
WIDE, NARROW = "mini-qwen3-m", "mini-qwen3-s"
ABLE = ("avx512_bf16",)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with a base that is wide enough and one that is not."""
    monkeypatch.setattr(precision, "BF16_WIDTH", 128)
    path = tmp_path / "auto.yaml"
    path.write_text(AUTO.replace("targets: [mini-qwen3-s]", f"targets: [{WIDE}, {NARROW}]"))
    return path


def test_auto_is_resolved_for_each_base_and_kept_in_a_folder_on_whatever_machine(
    path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with cpu_with(*ABLE):
        study = load_study(path, out=out)
    keep_precisions(out, study.auto_precisions)
    with cpu_with():
        again, elsewhere = load_study(path, out=out), load_study(path, out=tmp_path / "another")

    assert study.auto_precisions == {WIDE: "bf16", NARROW: "default"}
    assert [run.key for run in again.runs] == [run.key for run in study.runs]
    assert elsewhere.auto_precisions == {WIDE: "default", NARROW: "default"}
    keys = [{run.key for run in each.runs if run.bases[0].name == WIDE} for each in (study, elsewhere)]
    assert keys[0].isdisjoint(keys[1])


def test_a_folder_with_runs_of_one_precision_stays_with_it(path: Path, tmp_path: Path) -> None:
    """A study that asks for `auto` only since a later version goes on with its runs."""
    out, before = tmp_path / "out", tmp_path / "before.yaml"
    before.write_text(path.read_text().replace("precision: auto\n", ""))
    runs = load_study(before).runs
    for run in runs:
        RunStore(out).write_run(run)
    with cpu_with(*ABLE):
        again, elsewhere = load_study(path, out=out), load_study(path, out=tmp_path / "another")
        for run in elsewhere.runs:
            RunStore(out).write_run(run)
        mixed = resolve_precisions("auto", [WIDE, NARROW], device="cpu", out=out)

    assert {run.key for run in again.runs} == {run.key for run in runs}
    assert elsewhere.auto_precisions[WIDE] == mixed[WIDE] == "bf16"


def test_a_base_that_is_new_in_a_folder_is_resolved_there_and_a_precision_that_is_said_is_every_bases(
    path: Path, tmp_path: Path
) -> None:
    keep_precisions(tmp_path, {WIDE: "bf16"})
    with cpu_with():
        found = resolve_precisions("auto", [WIDE, "smollm2-135m"], device="cpu", out=tmp_path)
    said = resolve_precisions("default", [WIDE, NARROW], device="cpu", out=tmp_path)

    assert found == {WIDE: "bf16", "smollm2-135m": "default"}
    assert said == {WIDE: "default", NARROW: "default"}


def test_a_launch_records_the_resolution_and_every_command_finds_it(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(AUTO)  # narrow bases only: no CPU is asked for anything that it lacks
    out = str(tmp_path / "out")
    with cpu_with(*ABLE):
        assert main(["sweep", "run", str(path), "--out", out, "--executor", "local"]) == 0
    assert kept_precisions(Path(out)) == {NARROW: "default"}
    capsys.readouterr()

    (Path(out) / PRECISIONS_FILE).write_text(json.dumps({NARROW: "bf16"}))  # as another machine chose
    for command in ("status", "plan"):
        with cpu_with(*ABLE):
            assert main(["sweep", command, str(path), "--out", out, "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)
        assert (counts["total"], counts["missing"]) == (3, 3)


def test_a_machine_or_a_study_that_cannot_go_on_in_a_folder_says_so_and_can_still_look(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_precisions(tmp_path / "out", {WIDE: "bf16"})
    out, at = tmp_path / "out", [str(path), "--out", str(tmp_path / "out")]
    with cpu_with():
        assert main(["sweep", "status", *at]) == 0
        assert main(["sweep", "plan", *at, "--device", "b200"]) == 0
        for command in (["plan", *at, "--device", "cpu"], ["run", *at, "--executor", "local"]):
            assert main(["sweep", *command]) == 2
            assert "this machine's CPU has neither" in capsys.readouterr().err
        study = load_study(path)  # for elsewhere
        with pytest.raises(ValueError, match=r"is 'bf16' in .*, not 'default'; name that folder"):
            run_study(study, out, executor="local", console=silent())
    assert not (out / "runs").exists()


def test_joint_training_resolves_and_keeps_it_as_a_study_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.data.suites import open_suite

    monkeypatch.setattr(precision, "BF16_WIDTH", 96)
    suite, tasks = open_suite("mini", ["fact_qa"])
    request = TrainRequest(suite, tasks, precision="auto", out=tmp_path)

    with cpu_with(*ABLE):
        first = source_run(["mini-qwen3-s"], request, modules=("q",), rank=2)
    keep_precisions(tmp_path, first.auto_precisions)
    with cpu_with():
        again = source_run(["mini-qwen3-s"], request, modules=("q",), rank=2)

    assert first.auto_precisions == {"mini-qwen3-s": "bf16"}
    assert again.config.key == first.config.key
