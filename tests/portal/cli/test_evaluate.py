"""`portal eval` scores a base alone, with an artifact or an adapter; `portal conflicts` compares tasks."""

import csv
from pathlib import Path

import pytest

from portal.cli.evaluate import check_gradients, print_summary
from tests.support.bases import TASKS
from tests.support.command_line import Portal


def test_eval_prints_json_of_the_documented_shape(world: Path, portal: Portal) -> None:
    printed = portal(f"eval --base tiny-gemma3 --data '{world}/data' --json --limit 5").json

    assert set(printed) >= {"base", "tasks", "macro"}
    assert printed["base"] == "tiny-gemma3"
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


def test_the_matrix_is_symmetric_and_the_same_in_json_and_csv(world: Path, portal: Portal) -> None:
    command = f"conflicts '{world}/ported' --data '{world}/data'"

    printed = portal(f"{command} --rows 4 --json --out cosines.csv").json

    tasks, cosines = sorted(TASKS), printed["cosines"]
    assert (printed["base"], printed["tasks"]) == ("tiny-gemma3", tasks)
    for i in range(len(tasks)):
        assert cosines[i][i] == pytest.approx(1, abs=1e-5)
        assert cosines[i] == pytest.approx([row[i] for row in cosines], abs=1e-6)
    header, *lines = csv.reader(Path("cosines.csv").read_text().splitlines())
    assert header == ["task", *tasks]
    assert [[float(value) for value in line[1:]] for line in lines] == cosines

    text = portal(f"{command} --rows 4")
    pairs = [(cosines[i][j], f"{tasks[i]}, {tasks[j]}") for i, j in ((0, 1), (0, 2), (1, 2))]
    mean = sum(cosine for cosine, _ in pairs) / 3
    assert text.cells[1][:4] == ["all", "pairs", "3", f"{mean:.3f}"]
    lowest, names = min(pairs)
    assert text.lines[3] == f"  {lowest:.3f}  {names}"

    assert "name at least two" in portal.refusal(f"{command} --tasks sums")


COSINES = [[1.0, 0.5, -0.2, 0.1], [0.5, 1.0, 0.0, 0.3], [-0.2, 0.0, 1.0, -0.4], [0.1, 0.3, -0.4, 1.0]]


def test_pairs_of_one_kind_are_told_from_others_and_a_kind_from_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lines(tasks: list[str], kinds: dict[str, str]) -> list[str]:
        print_summary(tasks, COSINES, kinds)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    found = lines(["a1", "a2", "x", "y"], {"a1": "a", "a2": "a"})
    assert found[1:4] == [
        "all pairs 6 0.050 33 %",
        "pairs of one kind 1 0.500 0 %",
        "other pairs 5 -0.040 40 %",
    ]
    assert found[5:7] == ["-0.400 x, y", "-0.200 a1, x"]
    found = lines(["a1", "a2", "b1", "c1"], {"a1": "a", "a2": "a", "b1": "b", "c1": "c"})
    assert found[5:8] == ["a 0.500 0.050 -0.100 (b)", "b - -0.200 -0.400 (c)", "c - 0.000 -0.400 (b)"]


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
