"""A small world for the command line: tasks, bases, a trained source and its port."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.bases.registry import KNOWN, KnownBase
from portal.cli import main
from portal.tasks.example import SPLITS
from tests.support.bases import TASKS, character_tokenizer, make_examples, make_model


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with tasks, bases of three families, a source trained on two and its port to the third."""
    folder = tmp_path_factory.mktemp("world")
    for task in TASKS:
        (folder / "data" / task).mkdir(parents=True)
        for split in SPLITS:
            records = [
                {"id": e.id, "prompt": e.prompt, "choices": e.choices, "gold": e.gold, "cluster": e.cluster}
                for e in make_examples(task, split, 8)
            ]
            lines = "\n".join(json.dumps(record) for record in records)
            (folder / "data" / task / f"{split}.jsonl").write_text(lines)
    known = {}
    for family in ("qwen3", "llama", "gemma3"):
        make_model(family, hidden=24, layers=2, seed=0).save_pretrained(folder / family)
        character_tokenizer(bos=family == "gemma3").save_pretrained(folder / family)
        known[f"tiny-{family}"] = KnownBase(
            f"tiny-{family}", str(folder / family), None, "Apache-2.0", "test"
        )
    arguments = ["--data", str(folder / "data"), "--examples", "8", "--epochs", "1"]
    source = ["train", "--source", "tiny-qwen3,tiny-llama", "--out", str(folder / "source"), "--rank", "2"]
    ported = ["port", str(folder / "source"), "--to", "tiny-gemma3", "--out", str(folder / "ported")]
    with pytest.MonkeyPatch.context() as patch:
        for name, base in known.items():
            patch.setitem(KNOWN, name, base)
        assert main([*source, *arguments]) == 0
        assert main([*ported, *arguments, "--seed", "3"]) == 0
        yield folder
