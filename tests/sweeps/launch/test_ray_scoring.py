"""By Ray Data many adapters of a base get the scores that one after another gives; mistakes are one line."""

import json
import shutil
from pathlib import Path

import pytest

from portal.data.suites import load_suite
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.command_line import Portal
from tests.support.studies import Tables

EVAL = "eval --base mini-qwen3-s --tasks fact_qa,counting --limit 8"


@pytest.fixture
def adapters(tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path) -> list[str]:
    """The LoRAs of two runs, as folders of two adapters each, where commands are typed."""
    folders = []
    for run in tiny_study.runs:
        if run.method == "lora" and run.data.size == 8:
            folder = tmp_path / f"seed-{run.seed}"
            shutil.copytree(RunStore(unbroken[0]).run_folder(run.key) / "artifact", folder)
            folders += ["--adapter", folder.name]
    return folders


def test_several_adapters_are_a_line_each_and_a_folder_without_one_is_refused(
    adapters: list[str], tmp_path: Path, portal: Portal
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    printed = portal(EVAL, *adapters)

    header, *rows = printed.cells[:5]
    assert " ".join(header) == "adapter fact_qa counting mean acc mean acc_norm mean log_loss"
    assert [row[0] for row in rows] == [
        f"{seed}/{task}" for seed in ("seed-0", "seed-1") for task in ("counting", "fact_qa")
    ]
    assert "4 of 4 adapters scored" in printed.err
    assert "not a PEFT adapter" in portal(EVAL, "--adapter", empty, code=2).err


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_actors_give_the_scores_of_one_process_and_of_each_adapter_alone_and_refuse_another_bases(
    ray_cluster: str, adapters: list[str], tmp_path: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"prompt": row.prompt, "answer": row.choices[row.gold], "split": split}
        for split in ("train", "validation", "test")
        for row in load_suite("mini").examples("counting", split)[:8]
    ]
    (tmp_path / "written.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = EVAL.replace("counting", "counting,written.jsonl")

    one_process = portal(command, *adapters, "--json").json
    actors = portal(command, *adapters, "--json", "--workers", 2).json
    name = next(iter(one_process["adapters"]))
    alone = portal(command, "--adapter", name, "--json").json
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster)  # there one worker is an actor, too
    foreign = portal(EVAL.replace("qwen3-s", "qwen3-m"), *adapters, "--workers", 1, code=2).err

    assert list(actors["adapters"]) == list(one_process["adapters"])
    assert actors == one_process
    written = [each["tasks"]["written"] for each in actors["adapters"].values()]
    assert {each["metric"] for each in written} == {"exact_match"}
    assert len({each["log_loss"] for each in written}) == 4
    assert (alone.pop("base"), alone.pop("weights")) == ("mini-qwen3-s", None)
    assert one_process["adapters"][name] == alone
    (error,) = [line for line in foreign.splitlines() if line.startswith("portal: ")]
    assert "made for a base of revision" in error
