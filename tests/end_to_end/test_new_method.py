"""A method that is registered in one place is planned, trained, resumed, described and reported."""

import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from portal.cli import main
from portal.config import RunConfig
from portal.learners.base import Learner
from portal.methods import METHODS, find_method, register, stage_of_method
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from tests.support.studies import Interruption, silent, tables_of
from tests.support.toy_method import SPEC, registered

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


@pytest.fixture(autouse=True)
def method() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return load_study(path)


def warm(study: Study) -> RunConfig:
    return next(run for run in study.runs if run.method == SPEC.name)


def test_its_run_starts_from_its_parents_a_stage_later(study: Study) -> None:
    (parent,) = [run for run in study.runs if run.method == "lora"]

    assert stage_of_method(SPEC.name) == 2
    assert warm(study).parent_keys == (parent.key,)
    assert warm(study).adapter == parent.adapter
    assert [run.method for run in study.runs] == ["base", "lora", "warm_lora"]


def test_it_is_planned(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert [pack["stage"] for pack in packs if pack["methods"] == [SPEC.name]] == [2]


@pytest.mark.slow
def test_it_is_trained_resumed_described_and_reported(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "1e-9")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_study(study, whole, executor="local", console=silent()).failures == ()
    step = Pack.step

    def interrupted(pack: Pack) -> int:
        taken = step(pack)
        if any(learner.run.method == SPEC.name and learner.step == 3 for learner in pack.learners):
            raise Interruption
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(Pack, "step", interrupted)
        with pytest.raises(Interruption):
            run_study(study, broken, executor="local", console=silent())
    assert run_study(study, broken, executor="local", console=silent()).trained == 1

    found, expected = tables_of(study, broken), tables_of(study, whole)
    assert found.results.equals(expected.results)
    assert found.weights == expected.weights
    card = RunStore(broken).run_folder(warm(study).key) / "artifact" / "counting" / "README.md"
    assert SPEC.made_by in card.read_text()
    assert main(["report", str(broken)]) == 0
    page = (broken / "report" / "index.html").read_text()
    assert SPEC.label in page
    shutil.rmtree(broken)


def test_a_name_is_registered_once_and_parents_are_known() -> None:
    with pytest.raises(ValueError, match="method 'warm_lora' is registered already"):
        register(SPEC)


def test_an_unknown_method_is_an_error_by_name() -> None:
    with pytest.raises(ValueError, match="unknown method 'warm_lorra'; did you mean 'warm_lora'"):
        find_method("warm_lorra")


@pytest.mark.parametrize("name", [name for name in METHODS if name != SPEC.name])
def test_every_method_has_a_learner_a_label_and_a_sentence_for_its_card(name: str) -> None:

    spec = find_method(name)
    module, _, found = spec.learner.partition(":")

    assert issubclass(getattr(import_module(module), found), Learner)
    assert spec.label
    assert spec.made_by
