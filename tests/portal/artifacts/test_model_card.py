"""A card says with which class of transformers the base is loaded.

What is known of the run that made an artifact: all from its folder, elsewhere nothing.
"""

import shutil
from pathlib import Path

from portal.artifacts.adapter_record import AdapterRecord
from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord, adapter_card, read_run_record
from portal.config import AdapterConfig
from sweeps.store.run_store import RunStore
from tests.support.bases import TASKS, make_run


def test_the_base_is_loaded_with_its_class() -> None:
    adapter, plain = AdapterConfig(modules=("q", "v"), rank=8, alpha=16), "AutoModelForCausalLM"
    for base, loader in {
        "Qwen/Qwen3-4B": plain,
        "Qwen/Qwen3.5-4B": plain,
        "mistralai/Ministral-3-3B-Base-2512": "AutoModelForImageTextToText",
        "google/gemma-4-E2B": plain,
        "meta-llama/Llama-4-Scout-17B-16E": plain,
        "someone/else": plain,
    }.items():
        made_for = AdapterRecord(base=base, revision=None, task="sums")
        card = adapter_card(made_for, adapter=adapter, modules="q, v", record=None)
        assert f"from transformers import {loader}\n" in card
        assert f'{loader}.from_pretrained("{base}")' in card


OLD_RUN = Path(__file__).parents[2] / "fixtures/ea55e6a/folder/interrupted/runs/dee880c96ae2ab97"


def row(task: str, epoch: int, split: str = "test") -> dict[str, object]:
    return {"task": task, "epoch": epoch, "split": split}


def test_scores_are_of_the_epoch_that_the_artifact_is_of_else_of_the_last() -> None:
    rows = [row(task, epoch) for task in ("sums", "names") for epoch in (0, 1, 2)]
    rows.append(row("sums", 2, "validation"))

    record = RunRecord("0" * 16, {}, rows, epochs={"sums": 1})

    assert record.scores("sums") == row("sums", 1)
    assert record.scores("names") == row("names", 2)
    assert record.scores("colours") is None


def test_a_run_of_this_version_leaves_its_key_versions_and_epochs(world: Path) -> None:
    artifact = Artifact.load(world / "ported" / "artifact")
    key = artifact.folder.resolve().parent.name

    record = artifact.run_record

    assert record is not None
    assert record.key == key
    assert record.versions == RunStore(world / "ported").provenance(key)["versions"]
    assert record.epochs == dict.fromkeys(TASKS, 1)
    assert artifact.record is not None
    assert artifact.record.lineage.run == key
    assert artifact.record.lineage.versions == record.versions
    assert artifact.record.lineage.source is not None
    assert artifact.record.lineage.source.run is not None


def test_a_run_of_commit_ea55e6a_is_read_too_and_of_an_artifact_outside_of_a_run_nothing_is_known(
    tmp_path: Path,
) -> None:
    record = read_run_record(OLD_RUN / "artifact" / "mini-qwen3-xs")
    assert record is not None
    assert record.key == OLD_RUN.name
    assert record.versions["portal-sweeps"] == "0.2.0"
    assert record.scores("counting") is not None
    assert record.epochs == {"counting": 4, "fact_qa": 4}

    shutil.copytree(OLD_RUN / "artifact" / "mini-qwen3-xs", tmp_path / "copy")
    assert read_run_record(tmp_path / "copy") is Artifact.load(tmp_path / "copy").run_record is None
    run = make_run("lora", "tiny")
    at_hand = RunRecord.of(run)
    assert (at_hand.key, at_hand.config["method"], at_hand.results) == (run.key, "lora", ())
