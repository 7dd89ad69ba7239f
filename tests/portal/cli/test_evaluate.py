"""`portal eval`: scores of a base alone, with an artifact and with an adapter."""

import json
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.bases import TASKS


def test_eval_prints_json_of_the_documented_shape(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = "tiny-gemma3"
    command = ["eval", "--base", base, "--data", str(world / "data"), "--json"]

    assert main([*command, "--limit", "5"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) >= {"base", "tasks", "macro"}
    assert printed["base"] == base
    assert set(printed["tasks"]) == set(TASKS)
    for scores in printed["tasks"].values():
        assert set(scores) == {"metric", "score", "acc", "acc_norm", "log_loss", "num_examples"}
        assert (scores["metric"], scores["score"]) == ("acc_norm", scores["acc_norm"])
        assert scores["num_examples"] == 5
    for task, by_unit in printed["acc_norm_by_unit"].items():
        assert set(by_unit) == {"chars", "bytes", "tokens", "lm-eval"}
        assert by_unit["chars"] == printed["tasks"][task]["acc_norm"]
    mean = sum(scores["log_loss"] for scores in printed["tasks"].values()) / len(TASKS)
    assert printed["macro"]["log_loss"] == pytest.approx(mean)


def test_an_exported_adapter_scores_as_its_artifact_and_unlike_the_base(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, adapter = str(world / "ported"), str(tmp_path / "adapter")
    command = ["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--tasks", "sums"]

    assert main(["export", artifact, "--task", "sums", "--out", adapter, "--check"]) == 0
    capsys.readouterr()
    losses = []
    for extra in ([], ["--artifact", artifact], ["--adapter", adapter]):
        assert main([*command, *extra, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["tasks"]["sums"]["log_loss"])

    assert losses[1] == pytest.approx(losses[2], abs=1e-5)
    assert abs(losses[1] - losses[0]) > 1e-3
