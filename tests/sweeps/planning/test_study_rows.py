"""What a study asks of its rows is said when it is planned: too few, or too long for a base."""

import json
import shutil
from pathlib import Path

import pytest

from portal.bases.registry import KNOWN
from portal.cli import main
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.study_rows import check_row_lengths, count_rows, row_warnings
from sweeps.study.expand import load_study
from tests.support.studies import TINY


@pytest.fixture
def short_base(tmp_path: Path) -> Path:
    """An embedded base that reads no more than eight tokens."""
    folder = Path(shutil.copytree(KNOWN["mini-qwen3-s"].location, tmp_path / "short"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))
    return folder


def test_a_curve_above_its_methods_size_and_a_task_with_too_few_rows_are_named(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_path.write_text(TINY.replace("curve: {sizes: [4]}", "curve: {sizes: [4, 16, 9999]}"))
    study = load_study(study_path)
    rows = count_rows(study.suite, study.tasks)

    lines = row_warnings(study)

    assert lines == [
        "methods.lora.curve: sizes 16, 9999 are above the method's size 8",
        f"task 'fact_qa': {rows['fact_qa']} training rows are there; asked for: lora 9999",
        f"task 'counting': {rows['counting']} training rows are there; asked for: lora 9999",
    ]
    assert main(["sweep", "plan", str(study_path), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.splitlines() == [f"portal: {line}" for line in lines]


def test_test_rows_that_other_splits_have_are_named_by_plan_and_run(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("train", f"p{index} is", index % 2) for index in range(8)]
    rows += [("validation", "v is", 0), ("test", "t is", 0), ("test", "p3 is", 1)]
    lines = [
        {"prompt": prompt, "choices": [" a", " b"], "gold": gold, "split": split, "cluster": prompt}
        for split, prompt, gold in rows
    ]
    (tmp_path / "leaky.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    study_path.write_text(
        TINY.replace("[fact_qa, counting]", "[leaky.jsonl]")
        .replace("size: 8", "size: 4")
        .replace("[4]", "[2]")
    )
    warning = (
        "portal: task 'leaky': 1 test row repeats the text of training or validation rows; "
        "1 cluster of test rows is in other splits, too"
    )

    assert main(["sweep", "plan", str(study_path), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [warning.removeprefix("portal: ")]
    command = ["sweep", "run", str(study_path), "--out", str(tmp_path / "out"), "--executor", "local"]
    assert main(command) == 0
    assert warning in capsys.readouterr().err.splitlines()


def test_a_recipes_cap_asks_for_no_rows(study_path: Path) -> None:
    study_path.write_text(
        TINY.replace("size: 8, ", "").replace("curve: {sizes: [4]}", "curve: {sizes: [16]}")
    )

    assert row_warnings(load_study(study_path)) == []


def test_a_base_that_cannot_read_the_longest_row_is_refused_by_the_plan(
    study_path: Path, short_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_path.write_text(TINY.replace("[mini-qwen3-s]", f"[{short_base}]"))

    assert main(["sweep", "plan", str(study_path), "--out", str(tmp_path / "out")]) == 2

    error = capsys.readouterr().err
    assert f"base '{short_base}' reads at most 8 tokens, the longest prompt with its choice has" in error
    assert error.count("\n") == 1


def test_lengths_come_from_the_token_cache_where_there_is_one(
    study_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = load_study(study_path), tmp_path / "out"
    command = ["sweep", "plan", str(study_path), "--out", str(out)]
    assert check_row_lengths(study, out, study.bases) == study.bases
    assert main(command) == 0
    assert "the longest texts per task fit mini-qwen3-xs, mini-qwen3-s;" in capsys.readouterr().out
    data = study.runs[0].data
    prepare_rows(
        study.suite, study.tasks, study.bases, out, max_prompt=data.max_prompt, data_hash=data.data_hash
    )

    assert check_row_lengths(study, out, study.bases) == ()
    assert main(command) == 0
    assert "longest texts" not in capsys.readouterr().out
