"""What travels to a cluster is the study with its task files, and means there what it means here."""

import json
import os
from pathlib import Path

import pytest

from sweeps.study.bundle import MAX_BYTES, STUDY, bundle_study
from sweeps.study.expand import load_study

STUDY_TEXT = """
name: routed
suite: mini
tasks: [counting, own/routing.jsonl, own/capitals.yaml]
targets: [mini-qwen3-xs]
seeds: [0]
methods:
  base: {}
  lora: {size: 8, train: {epochs: 1, lr: 1e-5}}
"""
TASK = "data: DATA\nprompt: '{question}'\nchoices: ['{a}', '{b}']\ngold: answer\nlicence: MIT\n"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study with a JSONL task, and a YAML task whose rows lie in a folder beside it."""
    own = tmp_path / "here" / "own"
    (own / "rows").mkdir(parents=True)
    rows = [
        {"prompt": f"{n} to {n % 2}?", "choices": ["left", "right"], "gold": n % 2, "split": split}
        for n, split in enumerate(["train", "validation", "test"] * 6)
    ]
    (own / "routing.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    capitals = [{"question": f"capital {n}?", "a": "Rome", "b": "Ōsaka", "answer": n % 2} for n in range(60)]
    (own / "rows" / "train.jsonl").write_text("\n".join(json.dumps(row) for row in capitals))
    (own / "capitals.yaml").write_text(TASK.replace("DATA", "rows"))
    path = tmp_path / "here" / "routed.yaml"
    path.write_text(STUDY_TEXT)
    return path


def test_a_study_with_task_files_has_the_same_runs_where_it_arrives(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, rows = (study.parent / "own" / name for name in ("capitals.yaml", "rows/train.jsonl"))
    for number, inside in enumerate(("rows/train.jsonl", "rows.jsonl")):
        if number:  # rows in one file, in a place of their own
            rows.rename(tmp_path / "far.jsonl")
            task.write_text(TASK.replace("DATA", "../../far.jsonl"))
        here = load_study(study)

        files = bundle_study(study)
        there = tmp_path / str(number)
        for name, content in files.items():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            (there / name).write_bytes(content)

        assert set(files) == {
            STUDY, "tasks/1/routing.jsonl", "tasks/2/capitals.yaml", f"tasks/2/{inside}"
        }  # fmt: skip
        with monkeypatch.context() as patched:
            patched.chdir(there)
            assert load_study(STUDY).runs == here.runs


def test_a_study_without_task_files_travels_as_it_is_and_what_lies_on_the_cluster_stays_there(
    study: Path,
) -> None:
    far = STUDY_TEXT.replace("own/routing.jsonl, own/capitals.yaml", "/shared/tasks/far.jsonl")
    for text in (
        STUDY_TEXT.replace(", own/routing.jsonl, own/capitals.yaml", ""),
        far.replace("[mini-qwen3-xs]", "[/shared/bases/mine, org/model, /shared/a.gguf]"),
    ):
        study.write_text(text)
        assert bundle_study(study) == {STUDY: study.read_bytes()}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite: mini", "suite: rows", "suite 'rows' is a path on this machine"),
        ("suite: mini", "suite: portal14\ndata: rows", "data 'rows' is a path on this machine"),
        ("counting", "countin", "suite 'mini' has no task 'countin'"),
        ("mini-qwen3-xs", "mini-qwen3-x", "unknown base 'mini-qwen3-x'; did you mean 'mini-qwen3-xs'?"),
        ("mini-qwen3-xs", "./mine.gguf", "base './mine.gguf' is a path on this machine"),
        (
            "methods:\n",
            "sources: [mini-qwen3-xs]\nmethods:\n  source: {text: {encoder: .}}\n",
            "encoder '.' is a path on this machine",
        ),
        ("own/routing", "own/rooting", "no such task file"),
        ("lora:", "loar:", "unknown method 'loar'; did you mean 'lora'?"),
        ("size: 8", "size: 0", "methods.lora.size"),
        ("seeds:", "seedz:", "seedz: unknown key; did you mean 'seeds'?"),
    ],
)
def test_a_mistake_is_found_before_anything_travels(study: Path, old: str, new: str, message: str) -> None:
    study.write_text(STUDY_TEXT.replace(old, new))

    with pytest.raises(ValueError, match=r"routed\.yaml") as raised:
        bundle_study(study)

    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_rows_that_are_too_many_are_refused(study: Path) -> None:
    with (study.parent / "own" / "rows" / "validation.jsonl").open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES)

    with pytest.raises(ValueError, match="50 MB, more than the 50 MB that travel"):
        bundle_study(study)
