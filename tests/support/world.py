"""A small world for the command line: tasks, bases of three families, a source trained on two, its port."""

import json
from pathlib import Path

import pytest

from portal.bases.registry import KnownBase, known_bases
from portal.cli import main
from portal.tasks.example import SPLITS
from tests.support.bases import TASKS, character_tokenizer, make_examples, make_model

FAMILIES = ("qwen3", "llama", "gemma3")


def write_world(folder: Path) -> None:
    """Write data, bases, the source of two bases and its port to the third below `folder`."""
    for task in TASKS:
        (folder / "data" / task).mkdir(parents=True)
        for split in SPLITS:
            records = [
                {"id": e.id, "prompt": e.prompt, "choices": e.choices, "gold": e.gold, "cluster": e.cluster}
                for e in make_examples(task, split, 8)
            ]
            lines = "\n".join(json.dumps(record) for record in records)
            (folder / "data" / task / f"{split}.jsonl").write_text(lines)
    for family in FAMILIES:
        make_model(family, hidden=24, layers=2, seed=0).save_pretrained(folder / family)
        character_tokenizer(bos=family == "gemma3").save_pretrained(folder / family)
    arguments = ["--data", str(folder / "data"), "--examples", "8", "--epochs", "1"]
    source = ["train", "--source", "tiny-qwen3,tiny-llama", "--out", str(folder / "source"), "--rank", "2"]
    ported = ["port", str(folder / "source"), "--to", "tiny-gemma3", "--out", str(folder / "ported")]
    with pytest.MonkeyPatch.context() as patch:
        name_bases(folder, patch)
        assert main([*source, *arguments]) == 0
        assert main([*ported, *arguments, "--seed", "3"]) == 0


def name_bases(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Give the bases of the world at `folder` the names tiny-FAMILY until `patch` is undone."""
    for family in FAMILIES:
        name = f"tiny-{family}"
        known = KnownBase(name=name, location=str(folder / family), about="test")
        patch.setitem(known_bases(), name, known)
