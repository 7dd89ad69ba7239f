"""Rows rendered and tokenised once per tokenizer, before any run starts, and shared by all of them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from portal.bases.base import base_config, load_tokenizer
from portal.data.suite import Suite, split_manifest
from portal.data.token_cache import SHARD_ROWS, cached_extent, check_cache, write_cache
from portal.data.token_rows import ROW_SCHEMA, encode_example, rows_to_table
from portal.storage.paths import Folder
from portal.tasks.example import SPLITS, Example
from sweeps.store.token_caches import cache_folder_of, cache_identity

RAY_DATA_ROWS = 20_000
"""From so many rows on, Ray Data earns the seconds that its start costs (it is slower below)."""
_BATCH_ROWS = 512
_EXAMPLES = pa.schema(
    [
        ("task", pa.string()),
        ("split", pa.string()),
        ("id", pa.string()),
        ("cluster", pa.string()),
        ("prompt", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("gold", pa.int32()),
        ("contexts", pa.list_(pa.string())),
    ]
)


def prepare_rows(
    suite: Suite, tasks: Sequence[str], bases: Sequence[str], out: Folder, *, max_prompt: int, data_hash: str
) -> dict[str, Folder]:
    """The token cache of every base, by name; bases that tokenise alike share one.

    A cache that is whole is not made again. With Ray running and many rows, Ray Data does the work.
    ValueError when a base cannot read its rows.
    """
    folders: dict[str, Folder] = {}
    splits: dict[str, Any] = {}
    for base in bases:
        identity = cache_identity(suite, tasks, base, max_prompt=max_prompt, data_hash=data_hash)
        folders[base] = cache_folder_of(identity, out)
        if not _is_whole(folders[base]):
            splits = splits or split_manifest(suite, tasks)
            tables = (_encode(examples, base, max_prompt) for examples in example_tables(suite, tasks))
            write_cache(folders[base], tables, identity=identity, splits=splits)
        cached_extent(folders[base]).check(base, base_config(base).get_text_config())
    return folders


def encode_table(table: pa.Table, *, base: str, max_prompt: int) -> pa.Table:
    """Examples (one a line) in token ids, as a table of `ROW_SCHEMA`."""
    tokenizer = load_tokenizer(base)
    rows = [
        encode_example(
            Example(
                record["task"],
                record["id"],
                record["prompt"],
                tuple(record["choices"]),
                record["gold"],
                record["cluster"],
                None if record["contexts"] is None else tuple(record["contexts"]),
            ),
            record["split"],
            tokenizer,
            max_prompt=max_prompt,
        )
        for record in table.to_pylist()
    ]
    return rows_to_table(rows)


def _encode(examples: pa.Table, base: str, max_prompt: int) -> pa.Table:
    if examples.num_rows >= RAY_DATA_ROWS and _ray_is_running():
        return encode_by_ray(examples, base, max_prompt)
    return encode_table(examples, base=base, max_prompt=max_prompt)


def encode_by_ray(examples: pa.Table, base: str, max_prompt: int) -> pa.Table:
    """The same rows by Ray Data; their order is free, since the cache sorts them."""
    import ray
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    blocks = max(1, min(int(ray.cluster_resources().get("CPU", 1)) * 4, examples.num_rows // _BATCH_ROWS))
    dataset = (
        ray.data.from_arrow(examples)
        .repartition(blocks)
        .map_batches(
            encode_table,
            fn_kwargs={"base": base, "max_prompt": max_prompt},
            batch_format="pyarrow",
            batch_size=_BATCH_ROWS,
        )
    )
    tables = ray.get(dataset.to_arrow_refs())
    return pa.concat_tables([table.select(ROW_SCHEMA.names).cast(ROW_SCHEMA) for table in tables])


def _ray_is_running() -> bool:
    import ray

    return ray.is_initialized()


def example_tables(suite: Suite, tasks: Sequence[str], *, size: int = SHARD_ROWS) -> Iterator[pa.Table]:
    """All examples, in tables of at most `size` lines; one is in memory at a time."""
    records = (
        {
            "task": example.task,
            "split": split,
            "id": example.id,
            "cluster": example.cluster,
            "prompt": example.prompt,
            "choices": example.choices,
            "gold": example.gold,
            "contexts": example.contexts,
        }
        for task in tasks
        for split in SPLITS
        for example in suite.examples(task, split)
    )
    while batch := list(islice(records, size)):
        yield pa.Table.from_pylist(batch, schema=_EXAMPLES)


def _is_whole(folder: Folder) -> bool:
    try:
        check_cache(folder)
    except ValueError:
        return False
    return True
