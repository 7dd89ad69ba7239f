"""`portal eval` scores a base alone, with an artifact or an adapter; `portal conflicts` compares tasks."""

import csv
import json
from pathlib import Path

import pytest

from portal.cli import main
from portal.cli.evaluate import check_gradients, print_summary
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


def test_the_matrix_is_symmetric_and_the_same_in_json_and_csv(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["conflicts", str(world / "ported"), "--data", str(world / "data"), "--rows", "4"]

    assert main([*command, "--json", "--out", str(tmp_path / "cosines.csv")]) == 0

    printed = json.loads(capsys.readouterr().out)
    tasks = sorted(TASKS)
    assert (printed["base"], printed["tasks"]) == ("tiny-gemma3", tasks)
    cosines = printed["cosines"]
    for i in range(len(tasks)):
        assert cosines[i][i] == pytest.approx(1, abs=1e-5)
        assert cosines[i] == pytest.approx([row[i] for row in cosines], abs=1e-6)
    lines = list(csv.reader((tmp_path / "cosines.csv").read_text().splitlines()))
    assert lines[0] == ["task", *tasks]
    assert [[float(value) for value in line[1:]] for line in lines[1:]] == cosines

    assert main(command) == 0
    text = capsys.readouterr().out
    pairs = [(cosines[i][j], f"{tasks[i]}, {tasks[j]}") for i, j in ((0, 1), (0, 2), (1, 2))]
    mean = sum(cosine for cosine, _ in pairs) / 3
    assert text.splitlines()[1].split()[:4] == ["all", "pairs", "3", f"{mean:.3f}"]
    lowest, names = min(pairs)
    assert text.splitlines()[3] == f"  {lowest:.3f}  {names}"


def test_one_task_has_no_pairs(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conflicts", str(world / "ported"), "--data", str(world / "data"), "--tasks", "sums"]) == 2
    assert "name at least two" in capsys.readouterr().err


def test_pairs_of_one_kind_are_told_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    cosines = [[1.0, 0.5, -0.2, 0.1], [0.5, 1.0, 0.0, 0.3], [-0.2, 0.0, 1.0, -0.4], [0.1, 0.3, -0.4, 1.0]]

    print_summary(["a1", "a2", "x", "y"], cosines, {"a1": "a", "a2": "a"})

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["all", "pairs", "6", "0.050", "33", "%"]
    assert lines[2] == ["pairs", "of", "one", "kind", "1", "0.500", "0", "%"]
    assert lines[3] == ["other", "pairs", "5", "-0.040", "40", "%"]
    assert lines[5:7] == [["-0.400", "x,", "y"], ["-0.200", "a1,", "x"]]


def test_a_kind_is_compared_with_itself_and_with_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    cosines = [[1.0, 0.5, -0.2, 0.1], [0.5, 1.0, 0.0, 0.3], [-0.2, 0.0, 1.0, -0.4], [0.1, 0.3, -0.4, 1.0]]

    print_summary(["a1", "a2", "b1", "c1"], cosines, {"a1": "a", "a2": "a", "b1": "b", "c1": "c"})

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[5:8] == [
        ["a", "0.500", "0.050", "-0.100", "(b)"],
        ["b", "-", "-0.200", "-0.400", "(c)"],
        ["c", "-", "0.000", "-0.400", "(b)"],
    ]


def test_a_task_without_a_gradient_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = float("nan")
    cosines = [[1.0, 0.5, nothing], [0.5, 1.0, nothing], [nothing] * 3]

    check_gradients(["a", "b", "c"], cosines)
    print_summary(["a", "b", "c"], cosines, {})

    printed = capsys.readouterr()
    assert "no gradient of the core: c" in printed.err
    assert printed.out.splitlines()[1].split() == ["all", "pairs", "1", "0.500", "0", "%"]
    with pytest.raises(ValueError, match="fewer than two tasks"):
        check_gradients(["a", "c"], [[1.0, nothing], [nothing] * 2])
