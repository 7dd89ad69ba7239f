"""A method that is registered in one place is planned, trained, resumed, described and reported."""

import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from portal.cli import main
from portal.config import RunConfig
from portal.methods import METHODS, MethodSpec, find_method, register, stage_of_method
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.search.run_search import SearchPlan
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from tests.support.studies import Interruption, silent, tables_of
from tests.support.toy_method import SECOND_PORT, SPEC, registered

STUDY = """
name: new-method
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0]
targets: [mini-qwen3-xs]
methods:
  base: {}
  lora: {size: 8, adapter: {modules: [q, v], rank: 2}, train: {epochs: 2, lr: 1e-3}}
  warm_lora: {size: 8, train: {epochs: 3, lr: 1e-3}}
"""
DEEP = """
name: deep
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-gemma3]
methods:
  source:
    size: 8
    adapter: {modules: [q, v], rank: 2}
    hypernet: {d_latent: 8, d_layer: 4, hidden: 16, d_core: 8}
    train: {epochs: 2}
  portal: {size: 8, train: {epochs: 2}, targets: [mini-gemma3]}
  second_port: {size: 8, train: {epochs: 3}, targets: [mini-qwen3-s]}
"""
SEARCH = """
search:
  method: second_port
  space:
    second_port.train.lr: [1e-3, 1e-2]
    portal.size: [4, 8]
    source.adapter.rank: [1, 2]
"""


@pytest.fixture(autouse=True)
def method() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return load_study(path)


@pytest.fixture
def deep(tmp_path: Path) -> Study:
    path = tmp_path / "deep.yaml"
    path.write_text(DEEP)
    return load_study(path)


def run_of(study: Study, method: str, base: str | None = None) -> RunConfig:
    (found,) = [run for run in study.runs if run.method == method and base in (None, run.bases[0].name)]
    return found


def warm(study: Study) -> RunConfig:
    return run_of(study, SPEC.name)


def adapter_card(spec: MethodSpec, artifact: Path, out: Path) -> str:
    """The card of the adapter for `counting`, which a portable artifact is exported to first."""
    if spec.artifact == "portable":
        assert main(["export", str(artifact), "--task", "counting", "--out", str(out)]) == 0
        return (out / "README.md").read_text()
    return (artifact / "counting" / "README.md").read_text()


def test_its_run_starts_from_its_parents_a_stage_later(study: Study) -> None:
    (parent,) = [run for run in study.runs if run.method == "lora"]

    assert stage_of_method(SPEC.name) == 2
    assert warm(study).parent_keys == (parent.key,)
    assert warm(study).adapter == parent.adapter
    assert [run.method for run in study.runs] == ["base", "lora", "warm_lora"]


def plan_of(folder: Path, name: str) -> list[str]:
    """The command that plans the study of that name for a CPU."""
    return ["sweep", "plan", str(folder / f"{name}.yaml"), "--out", str(folder / "out"), "--device", "cpu"]


def test_it_is_planned(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*plan_of(tmp_path, "study"), "--json"]) == 0

    packs = json.loads(capsys.readouterr().out)["packs"]
    assert [pack["stage"] for pack in packs if pack["methods"] == [SPEC.name]] == [2]


def test_a_run_whose_parent_has_a_parent_brings_both_into_the_study(deep: Study) -> None:
    source, own = run_of(deep, "source"), run_of(deep, "second_port")
    port = run_of(deep, "portal", "mini-qwen3-s")  # which the study would not have without it

    assert stage_of_method("second_port") == 3
    assert own.parent_keys == (port.key,)
    assert port.parent_keys == (source.key,)
    assert own.adapter == source.adapter
    assert [run.method for run in deep.runs] == ["source", "portal", "portal", "second_port"]
    assert [deep.labels[run.key] for run in deep.runs] == [run.method for run in deep.runs]


CURVES = """
  portal: {size: 8, train: {epochs: 2}, curve: {sizes: [2, 4], targets: [mini-qwen3-s]}}
  second_port: {size: 8, train: {epochs: 3}, curve: {sizes: [4, 2]}}
"""


def with_curves(tmp_path: Path, curves: str = CURVES) -> Study:
    path = tmp_path / "curves.yaml"
    path.write_text(DEEP[: DEEP.index("  portal:")] + curves.lstrip("\n"))
    return load_study(path)


def test_at_each_size_of_its_curve_a_run_starts_from_its_parent_of_that_size(tmp_path: Path) -> None:
    study = with_curves(
        tmp_path, CURVES.replace("{sizes: [4, 2]}", "{sizes: [4, 2], targets: [mini-qwen3-s]}")
    )

    started = {
        (run.bases[0].name, run.data.size): study.by_key[run.source].data.size
        for run in study.runs
        if run.method == "second_port"
    }
    assert started == {
        ("mini-qwen3-s", 8): 8, ("mini-qwen3-s", 4): 4, ("mini-qwen3-s", 2): 2, ("mini-gemma3", 8): 8,
    }  # fmt: skip


def test_where_its_parent_has_one_size_a_run_starts_from_that_at_every_size(tmp_path: Path) -> None:
    study = with_curves(tmp_path)

    started = {
        run.data.size: study.by_key[run.source].data.size
        for run in study.runs
        if run.method == "second_port" and run.bases[0].name == "mini-gemma3"
    }
    assert started == {8: 8, 4: 8, 2: 8}


def test_a_size_that_its_parent_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        with_curves(tmp_path, CURVES.replace("[4, 2]", "[4, 3]"))

    assert "methods.second_port.curve: 'portal' has no size 3 on mini-qwen3-s; it has 8, 2, 4" in str(
        caught.value
    )


def test_a_third_stage_is_planned(deep: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*plan_of(tmp_path, "deep"), "--json"]) == 0
    packs = json.loads(capsys.readouterr().out)["packs"]
    assert main(plan_of(tmp_path, "deep")) == 0
    printed = capsys.readouterr().out

    assert [pack["stage"] for pack in packs] == [1, 2, 2, 3]
    assert packs[3]["needs"] == [run_of(deep, "portal", "mini-qwen3-s").key]
    lines = [line.split("  ")[0] for line in printed.splitlines()]
    assert [line for line in lines if line in ("train", "port", "stage 3")] == [
        "train", "port", "port", "stage 3", "train", "port", "stage 3",
    ]  # fmt: skip


def test_a_search_of_a_third_stage_may_change_all_that_it_starts_from(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(DEEP + SEARCH)

    trial = SearchPlan(path).trial({"portal.size": 4, "source.adapter.rank": 1})

    assert set(trial.methods) == {"source", "portal", "second_port"}
    assert trial.methods["portal"].size == 4


def test_a_failure_two_stages_before_a_run_is_the_reason_why_it_has_no_result(tmp_path: Path) -> None:
    path, out = tmp_path / "deep.yaml", tmp_path / "out"
    path.write_text(DEEP.replace("train: {epochs: 2}\n", "train: {epochs: 2, lr: 1e38, lr_latent: 1e38}\n"))
    study = load_study(path)

    outcome = run_study(study, out, executor="local", console=silent())

    source, *others = (run.key for run in study.runs)
    causes = {failure.run: failure.cause for failure in outcome.failures}
    assert not outcome.is_done
    assert "step" in causes.pop(source)
    assert causes == dict.fromkeys(others, f"its source run {source} failed")
    assert RunStore(out).failure(source) is not None


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "content"), [(SPEC, STUDY), (SECOND_PORT, DEEP)], ids=["warm", "deep"])
def test_it_is_trained_resumed_described_and_reported(
    spec: MethodSpec, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    study = load_study(path)
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_study(study, whole, executor="local", console=silent()).failures == ()
    step = Pack.step

    def interrupted(pack: Pack) -> int:
        taken = step(pack)
        if any(learner.run.method == spec.name and learner.step == 3 for learner in pack.learners):
            raise Interruption
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(Pack, "step", interrupted)
        with pytest.raises(Interruption):
            run_study(study, broken, executor="local", console=silent())
    left = [run for run in study.runs if not RunStore(broken).is_done(run.key)]
    unfinished = {run.key for run in left}
    assert any(run.method == spec.name and run.source not in unfinished for run in left)
    assert run_study(study, broken, executor="local", console=silent()).trained == len(left)

    found, expected = tables_of(study, broken), tables_of(study, whole)
    assert found.results.equals(expected.results)
    assert found.weights == expected.weights
    artifact = RunStore(broken).run_folder(run_of(study, spec.name).key) / "artifact"
    assert spec.made_by in adapter_card(spec, artifact, tmp_path / "exported")
    assert main(["report", str(broken)]) == 0
    page = (broken / "report" / "index.html").read_text()
    assert spec.label in page
    shutil.rmtree(broken)


def test_a_name_is_registered_once_and_parents_are_known() -> None:
    with pytest.raises(ValueError, match="method 'warm_lora' is registered already"):
        register(SPEC)


def test_an_unknown_method_is_an_error_by_name() -> None:
    with pytest.raises(ValueError, match="unknown method 'warm_lorra'; did you mean 'warm_lora'"):
        find_method("warm_lorra")


def test_every_method_has_a_learner_a_label_and_a_sentence_for_its_card() -> None:
    for spec in METHODS.values():
        module, _, found = spec.learner.partition(":")

        assert callable(getattr(import_module(module), found))
        assert spec.label
        assert spec.made_by
