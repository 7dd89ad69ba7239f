"""The one contract with analysis: schemas of the result table and the prediction table, and their files.

Result table: one line per (run, task, epoch, split). Prediction table: one line per (run, task, epoch, split,
example). Units: `wall_s` seconds of training until this epoch ended, `train_flops` floating-point operations,
`train_tokens` tokens pushed through the base while training (padding not counted), log-losses in nats per
token. A value that has no meaning for a row is null, never 0.
"""

from collections.abc import Sequence

import pyarrow as pa

from portal.storage.atomic import write_bytes_atomic
from portal.storage.parquet import Filters, decode_schema, decode_table, encode_table
from portal.storage.paths import Folder

SCHEMA_VERSION = 4
RESULTS_FILE, PREDICTIONS_FILE = "results.parquet", "predictions.parquet"
"""Of a run's folder, and of a study's collected tables."""
UNITS = {"chars": "chars", "bytes": "bytes", "tokens": "tokens", "lm-eval": "lm_eval_chars"}
"""What a choice's log-likelihood is divided by for acc_norm, and the column of predictions that holds it."""
TASK_FILE = "task file"
"""The prompt set of a task that a user's file renders, whatever suite it stands beside."""
_METADATA = {b"portal_schema_version": str(SCHEMA_VERSION).encode()}

RESULTS = pa.schema(
    [
        ("run", pa.string()),  # content key of the run
        ("study", pa.string()),  # name of the study the row was collected for
        ("method", pa.string()),  # of config.METHODS
        ("label", pa.string()),  # what the study calls it: tells apart settings that no other column does
        ("sources", pa.list_(pa.string())),  # source bases of a port or a source run, else null
        ("base", pa.string()),  # the base the scores were measured on
        ("base_revision", pa.string()),
        ("modules", pa.string()),  # "q,v"; null for method base
        ("rank", pa.int32()),  # null for method base
        ("size", pa.int32()),  # calibration rows a task (cap), null where it has no meaning
        ("seed", pa.int32()),  # null where it has no meaning
        ("task", pa.string()),
        ("epoch", pa.int32()),  # 0: before any training
        ("split", pa.string()),  # validation or test
        ("prompt_set", pa.string()),
        ("eval_set", pa.string()),  # sha256 over the scored rows of this task and split
        ("num_examples", pa.int32()),
        ("chance", pa.float64()),  # mean of 1 / number of choices
        (
            "majority",
            pa.float64(),
        ),  # share of the answer that is right most often; null: choices differ by row
        ("acc", pa.float64()),
        ("acc_norm", pa.float64()),
        ("acc_norm_unit", pa.string()),  # of UNITS: what acc_norm divides by
        ("acc_norm_bytes", pa.float64()),
        ("acc_norm_tokens", pa.float64()),
        ("acc_norm_lm_eval", pa.float64()),
        ("ties", pa.int32()),  # examples whose highest choice log-likelihood is not one choice's alone
        ("log_loss", pa.float64()),
        ("gold_tokens", pa.int64()),
        ("train_tokens", pa.int64()),
        ("train_flops", pa.float64()),
        ("trained_params", pa.int64()),
        ("wall_s", pa.float64()),
        ("norm_ratio", pa.float64()),  # mean ||dW|| / ||dW_source|| of a transferred adapter, else null
        ("device", pa.string()),
    ],
    metadata=_METADATA,
)

PREDICTIONS = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("epoch", pa.int32()),
        ("split", pa.string()),
        ("example", pa.string()),
        ("cluster", pa.string()),
        ("scores", pa.list_(pa.float32())),  # log-likelihood of each choice, nats
        ("chars", pa.list_(pa.int32())),  # length of each choice with its leading space
        ("bytes", pa.list_(pa.int32())),
        ("tokens", pa.list_(pa.int32())),
        ("lm_eval_chars", pa.list_(pa.int32())),  # without the leading space, as lm-eval counts
        ("gold", pa.int32()),
    ],
    metadata=_METADATA,
)


def write_table(table: pa.Table, path: Folder) -> None:
    """Write `table` whole: under a temporary name, then renamed; or as one object."""
    write_bytes_atomic(path, encode_table(table))


def read_table(
    path: Folder,
    schema: pa.Schema,
    *,
    columns: Sequence[str] | None = None,
    filters: Filters | None = None,
) -> pa.Table:
    """The table at `path`, checked against `schema`; some `columns` of the rows that pass `filters`.

    Raises ValueError when the file is missing, is not Parquet, or was written by another schema version.
    """
    try:
        content = path.read_bytes()
        _check_schema(path, decode_schema(content), schema)
        return decode_table(content, columns=columns, filters=filters)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such result table; `portal sweep collect` writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file ({error})") from None


def _check_schema(path: Folder, stored: pa.Schema, schema: pa.Schema) -> None:
    version = (stored.metadata or {}).get(b"portal_schema_version")
    if version != schema.metadata[b"portal_schema_version"]:
        found = version.decode() if version else "none"
        raise ValueError(
            f"{path}: schema version {found}, this version of portal reads {SCHEMA_VERSION}; report the "
            "study with the version that made it, or run it again"
        )
    if not stored.equals(schema):
        raise ValueError(f"{path}: columns differ from schema version {SCHEMA_VERSION}")
