"""A method that is registered in one place is planned, trained, resumed, described and reported."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from portal.cli import main
from portal.config import RunConfig
from portal.methods import METHODS, find_method, register, stage_of_method
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.search.run_search import SearchPlan
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from tests.support.studies import Interruption, assert_same, silent, tables_of
from tests.support.toy_method import SECOND_PORT, SPEC, registered

STUDY = """
name: new-methods
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-gemma3]
methods:
  base: {targets: [mini-qwen3-s]}
  lora:
    targets: [mini-qwen3-s]
    size: 8
    adapter: {modules: [q, v], rank: 2}
    train: {epochs: 2, lr: 1e-3}
  warm_lora: {size: 8, train: {epochs: 3, lr: 1e-3}, targets: [mini-qwen3-s]}
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


def run_of(study: Study, method: str, base: str = "mini-qwen3-s") -> RunConfig:
    (found,) = [run for run in study.runs if (run.method, run.bases[0].name) == (method, base)]
    return found


def test_runs_start_from_their_parents_a_stage_later_and_bring_them_into_the_study(study: Study) -> None:
    lora, warm = run_of(study, "lora"), run_of(study, "warm_lora")
    source, own = run_of(study, "source", "mini-qwen3-xs"), run_of(study, "second_port")
    port = run_of(study, "portal")  # which the study would not have without it

    assert (stage_of_method("warm_lora"), stage_of_method("second_port")) == (2, 3)
    assert (warm.parent_keys, warm.adapter) == ((lora.key,), lora.adapter)
    assert (own.parent_keys, own.adapter) == ((port.key,), source.adapter)
    assert port.parent_keys == (source.key,)
    methods = ["base", "lora", "source", "warm_lora", "portal", "portal", "second_port"]
    assert sorted(run.method for run in study.runs) == sorted(methods)
    assert [study.labels[run.key] for run in study.runs] == [run.method for run in study.runs]


def test_three_stages_are_planned(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "sweep",
        "plan",
        str(tmp_path / "study.yaml"),
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    assert main([*command, "--json"]) == 0
    packs = json.loads(capsys.readouterr().out)["packs"]
    assert main(command) == 0
    printed = capsys.readouterr().out

    stages = {tuple(pack["methods"]): pack["stage"] for pack in packs}
    assert (stages["source",], stages["warm_lora",], stages["second_port",]) == (1, 2, 3)
    assert packs[-1]["needs"] == [run_of(study, "portal").key]
    lines = [line.split("  ")[0] for line in printed.splitlines()]
    assert "stage 3" in lines[lines.index("port") :]


CURVES = """
  portal: {size: 8, train: {epochs: 2}, curve: {sizes: [2, 4], targets: [mini-qwen3-s]}}
  second_port: {size: 8, train: {epochs: 3}, curve: {sizes: [4, 2]}}
"""


def with_curves(tmp_path: Path, curves: str = CURVES) -> Study:
    path = tmp_path / "curves.yaml"
    path.write_text(STUDY[: STUDY.index("  portal:")] + curves.lstrip("\n"))
    return load_study(path)


def test_at_each_size_of_its_curve_a_run_starts_from_its_parent_of_that_size_or_of_its_only_one(
    tmp_path: Path,
) -> None:
    study = with_curves(tmp_path)

    started = {
        (run.bases[0].name, run.data.size): study.by_key[run.source].data.size
        for run in study.runs
        if run.method == "second_port"
    }
    assert started == {
        ("mini-qwen3-s", 8): 8, ("mini-qwen3-s", 4): 4, ("mini-qwen3-s", 2): 2,
        ("mini-gemma3", 8): 8, ("mini-gemma3", 4): 8, ("mini-gemma3", 2): 8,
    }  # fmt: skip


def test_a_size_that_its_parent_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        with_curves(tmp_path, CURVES.replace("[4, 2]", "[4, 3]"))

    assert "methods.second_port.curve: 'portal' has no size 3 on mini-qwen3-s; it has 8, 2, 4" in str(
        caught.value
    )


def test_a_search_of_a_third_stage_may_change_all_that_it_starts_from(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(STUDY + SEARCH)

    trial = SearchPlan(path).trial({"portal.size": 4, "source.adapter.rank": 1})

    assert set(trial.methods) == {"source", "portal", "second_port"}
    assert trial.methods["portal"].size == 4


def test_a_failure_two_stages_before_a_run_is_the_reason_why_it_has_no_result(tmp_path: Path) -> None:
    path, out = tmp_path / "deep.yaml", tmp_path / "out"
    deep = STUDY[: STUDY.index("  base:")] + STUDY[STUDY.index("  source:") :]
    path.write_text(deep.replace("train: {epochs: 2}\n", "train: {epochs: 2, lr: 1e38, lr_latent: 1e38}\n"))
    study = load_study(path)

    outcome = run_study(study, out, executor="local", console=silent())

    source, *others = (run.key for run in study.runs)
    causes = {failure.run: failure.cause for failure in outcome.failures}
    assert not outcome.is_done
    assert "step" in causes.pop(source)
    assert causes == dict.fromkeys(others, f"its source run {source} failed")
    assert RunStore(out).failure(source) is not None


@pytest.mark.slow
def test_they_are_trained_resumed_described_and_reported(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_study(study, whole, executor="local", console=silent()).failures == ()
    step, interrupted = Pack.step, set[str]()

    def interrupting(pack: Pack) -> int:
        taken = step(pack)
        for learner in pack.learners:
            name = learner.run.method
            if name in (SPEC.name, SECOND_PORT.name) and learner.step == 3 and name not in interrupted:
                interrupted.add(name)
                raise Interruption
        return taken

    monkeypatch.setattr(Pack, "step", interrupting)
    for spec in (SPEC, SECOND_PORT):
        with pytest.raises(Interruption):
            run_study(study, broken, executor="local", console=silent())
        own = run_of(study, spec.name)
        assert not RunStore(broken).is_done(own.key)
        assert RunStore(broken).is_done(str(own.source))
    left = [run for run in study.runs if not RunStore(broken).is_done(run.key)]
    assert run_study(study, broken, executor="local", console=silent()).trained == len(left)

    assert_same(tables_of(study, broken), tables_of(study, whole))
    assert main(["report", str(broken)]) == 0
    page = (broken / "report" / "index.html").read_text()
    adapters, port = (
        RunStore(broken).run_folder(run_of(study, spec.name).key) / "artifact" for spec in (SPEC, SECOND_PORT)
    )
    assert main(["export", str(port), "--task", "counting", "--out", str(tmp_path / "exported")]) == 0
    for spec, adapter in ((SPEC, adapters / "counting"), (SECOND_PORT, tmp_path / "exported")):
        assert spec.made_by in (adapter / "README.md").read_text()
        assert spec.label in page


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
