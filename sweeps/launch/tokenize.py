"""Rows rendered and tokenised once per tokenizer, before any run starts, and shared by all of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa

from portal.bases.family import base_config, load_tokenizer
from portal.config import DataConfig
from portal.data.suites import Suite, split_manifest
from portal.data.token_cache import SHARD_ROWS, cached_extent, check_cache, write_cache
from portal.data.token_rows import encode_examples, rows_to_table
from portal.messages import refusal
from portal.storage.paths import Folder
from portal.tasks.example import SPLITS, Example, Written
from sweeps.store.questions import record_questions
from sweeps.store.token_caches import cache_folder_of, cache_identity

Encode = Callable[[pa.Table, str, int], pa.Table]
"""Examples (one per line), a base, and the longest prompt in tokens, to a table of `ROW_SCHEMA`."""
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
        ("references", pa.list_(pa.string())),
        ("conversation", pa.string()),
    ]
)


def prepare_rows(
    suite: Suite, data: DataConfig, bases: Sequence[str], out: Folder, *, encode: Encode | None = None
) -> dict[str, Folder]:
    """The token cache of these rows for every base, by name; bases that tokenise alike share one.

    A cache that is whole is not made again. The texts of test rows are kept beside them. `encode` does the
    work, by default this process. ValueError when a base cannot read its rows.
    """
    encode = encode or encode_table
    record_questions(suite, data.tasks, out, data_hash=data.data_hash)
    folders: dict[str, Folder] = {}
    splits: dict[str, Any] = {}
    for base in bases:
        identity = cache_identity(suite, data, base)
        folders[base] = cache_folder_of(identity, out)
        if refusal(partial(check_cache, folders[base])) is not None:
            splits = splits or split_manifest(suite, data.tasks)
            examples = example_tables(suite, data.tasks)
            tables = (encode(table, base, data.max_prompt) for table in examples)
            write_cache(folders[base], tables, identity=identity, splits=splits)
        cached_extent(folders[base]).check(base, base_config(base).get_text_config())
    return folders


def encode_table(table: pa.Table, base: str, max_prompt: int) -> pa.Table:
    """Examples (one per line) in token ids, as a table of `ROW_SCHEMA`."""
    examples = (
        (
            Example(
                record["task"],
                record["id"],
                record["prompt"],
                tuple(record["choices"]),
                record["gold"],
                record["cluster"],
                None if record["contexts"] is None else tuple(record["contexts"]),
                None
                if record["references"] is None
                else Written(tuple(record["references"]), record["conversation"]),
            ),
            record["split"],
        )
        for record in table.to_pylist()
    )
    return rows_to_table(encode_examples(examples, load_tokenizer(base), max_prompt=max_prompt))


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
            "references": example.written.references if example.written else None,
            "conversation": example.written.conversation if example.written else None,
        }
        for task in tasks
        for split in SPLITS
        for example in suite.examples(task, split)
    )
    while batch := list(islice(records, size)):
        yield pa.Table.from_pylist(batch, schema=_EXAMPLES)
