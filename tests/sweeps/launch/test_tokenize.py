"""Rows are tokenised once per tokenizer, verified, and the same whoever does the work."""

import json
import shutil
from pathlib import Path

import pytest

from portal.bases.registry import known_bases
from portal.config import DataConfig
from portal.data.suites import load_suite, split_manifest
from portal.data.token_cache import read_cache
from sweeps.launch.ray_tokenize import encode_by_ray
from sweeps.launch.tokenize import encode_table, example_tables, prepare_rows

TASKS = ("counting", "fact_qa")
QWENS, GEMMA = ("mini-qwen3-xs", "mini-qwen3-m"), "mini-gemma3"


def prepare(out: Path, bases: tuple[str, ...]) -> dict[str, Path]:
    data = DataConfig(suite="mini", tasks=TASKS, prompt_set="mini", max_prompt=64, data_hash="0")
    return prepare_rows(load_suite("mini"), data, bases, out)


def test_bases_that_tokenise_alike_share_a_cache_and_others_do_not(tmp_path: Path) -> None:
    folders = prepare(tmp_path, (*QWENS, GEMMA))

    assert folders[QWENS[0]] == folders[QWENS[1]] != folders[GEMMA]
    rows = {base: read_cache(folder) for base, folder in folders.items()}
    assert rows[QWENS[0]].tasks == rows[GEMMA].tasks == TASKS
    for task in TASKS:
        names = [[row.id for row in rows[base].rows(task, "train")] for base in (QWENS[0], GEMMA)]
        assert names[0] == names[1] == [e.id for e in load_suite("mini").examples(task, "train")]


def test_a_whole_cache_with_rows_and_hash_of_every_split_stays_and_an_altered_one_is_made_again(
    tmp_path: Path,
) -> None:
    (folder,) = set(prepare(tmp_path, QWENS).values())
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    splits = json.loads((folder / "manifest.json").read_text())["splits"]
    assert splits == split_manifest(load_suite("mini"), TASKS)
    assert splits["fact_qa"]["test"]["rows"] == len(load_suite("mini").examples("fact_qa", "test"))

    prepare(tmp_path, QWENS)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    data = bytearray((folder / "rows-00000.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "rows-00000.parquet").write_bytes(data)
    prepare(tmp_path, QWENS)

    assert read_cache(folder).tasks == TASKS
    assert (folder / "rows-00000.parquet").read_bytes() != bytes(data)


def test_rows_longer_than_a_base_can_read_are_refused_before_any_run(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(known_bases()[QWENS[0]].location, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))

    with pytest.raises(
        ValueError, match=r"reads at most 8 tokens, the longest prompt with its choice has \d+"
    ):
        prepare(tmp_path / "out", (str(folder),))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_data_makes_the_same_rows_as_a_plain_loop(ray_cluster: str) -> None:
    (examples,) = example_tables(load_suite("mini"), TASKS)

    by_ray = encode_by_ray(examples, GEMMA, 64)
    plain = encode_table(examples, GEMMA, 64)

    key = [("task", "ascending"), ("split", "ascending"), ("id", "ascending")]
    assert by_ray.sort_by(key).equals(plain.sort_by(key))
