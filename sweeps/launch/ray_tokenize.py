"""Examples in token ids by Ray Data, where there are many of them."""

import pyarrow as pa
import ray
from ray.data import DataContext

from portal.data.token_rows import ROW_SCHEMA
from sweeps.launch.tokenize import encode_table

RAY_DATA_ROWS = 20_000
"""From so many rows on, Ray Data earns the seconds that its start costs (it is slower below)."""
_BATCH_ROWS = 512


def encode(examples: pa.Table, base: str, max_prompt: int) -> pa.Table:
    """The examples as a table of `ROW_SCHEMA`; on the running Ray where that is quicker."""
    make = encode_by_ray if examples.num_rows >= RAY_DATA_ROWS else encode_table
    return make(examples, base, max_prompt)


def encode_by_ray(examples: pa.Table, base: str, max_prompt: int) -> pa.Table:
    """The same rows by Ray Data; their order is free, since the cache sorts them."""
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
