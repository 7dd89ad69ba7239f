"""`Row`: an example in token ids, and the Parquet cache of a task set's rows for one tokenizer."""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from portal.checkpoint import write_bytes_atomic, write_json_atomic
from portal.tasks.example import Example

ROW_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("id", pa.string()),
        ("split", pa.string()),
        ("cluster", pa.string()),
        ("prompt", pa.list_(pa.int32())),
        ("choices", pa.list_(pa.list_(pa.int32()))),
        ("gold", pa.int32()),
        ("chars", pa.list_(pa.int32())),
        ("bytes", pa.list_(pa.int32())),
        ("truncated", pa.int32()),
    ]
)
_ROWS, _MANIFEST = "rows.parquet", "manifest.json"


@dataclass(frozen=True)
class Row:
    """One example in token ids. `chars` and `bytes` are the choices' lengths with their leading space."""

    task: str
    id: str
    split: str
    cluster: str
    prompt: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    gold: int
    chars: tuple[int, ...]
    bytes: tuple[int, ...]
    truncated: int  # tokens cut from the left of the prompt

    @property
    def gold_ids(self) -> tuple[int, ...]:
        """Prompt followed by the gold answer: what training runs through the base."""
        return self.prompt + self.choices[self.gold]


class MisalignedError(ValueError):
    """The tokenizer joins the end of a prompt with the start of an answer: no place to split them."""


def encode_example(
    example: Example, split: str, tokenizer: PreTrainedTokenizerBase, *, max_prompt: int
) -> Row:
    """`example` in token ids: prompt and answer tokenised together and split at the boundary.

    White space that ends the prompt moves to the answer. A prompt over `max_prompt` tokens loses its left end
    (a leading BOS stays); an answer is never cut. Raises MisalignedError, naming task and example, when the
    tokenizer merges across the boundary, and ValueError when a prompt or an answer has no tokens.
    """
    where = f"task {example.task!r}, example {example.id!r}"
    prompt_text = example.prompt.rstrip()
    boundary = example.prompt[len(prompt_text) :]
    prompt = tokenizer(prompt_text).input_ids
    if not prompt:
        raise ValueError(f"{where}: the prompt has no tokens")
    answers = [boundary + choice for choice in example.choices]
    encoded = tokenizer([prompt_text + answer for answer in answers]).input_ids
    choices = []
    for answer, whole in zip(answers, encoded, strict=True):
        if whole[: len(prompt)] != prompt:
            raise MisalignedError(
                f"{where}: the tokenizer merges the prompt's end with the answer {answer!r}"
            )
        if len(whole) == len(prompt):
            raise ValueError(f"{where}: the answer {answer!r} has no tokens")
        choices.append(tuple(whole[len(prompt) :]))
    kept = _truncate_left(prompt, max_prompt, tokenizer.bos_token_id)
    return Row(
        task=example.task,
        id=example.id,
        split=split,
        cluster=example.cluster,
        prompt=kept,
        choices=tuple(choices),
        gold=example.gold,
        chars=tuple(len(answer) for answer in answers),
        bytes=tuple(len(answer.encode()) for answer in answers),
        truncated=len(prompt) - len(kept),
    )


class RowTable:
    """Rows of many tasks and splits, each (task, split) sorted by id."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            self._rows.setdefault((row.task, row.split), []).append(row)
        for group in self._rows.values():
            group.sort(key=lambda row: row.id)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted({task for task, _ in self._rows}))

    def rows(self, task: str, split: str) -> tuple[Row, ...]:
        """Rows of `task` in `split`; ValueError when there are none."""
        if (task, split) not in self._rows:
            raise ValueError(f"task {task!r} has no rows in split {split!r}")
        return tuple(self._rows[task, split])

    @cached_property
    def max_token(self) -> int:
        """The highest token id of any prompt or choice."""
        rows = self.all()
        return max(max(*row.prompt, *(token for choice in row.choices for token in choice)) for row in rows)

    def all(self) -> list[Row]:
        """Every row, ordered by task, split and id."""
        return [row for key in sorted(self._rows) for row in self._rows[key]]


def rows_to_table(rows: Iterable[Row]) -> pa.Table:
    """The rows as an Arrow table of `ROW_SCHEMA`."""
    rows = list(rows)
    return pa.table(
        {name: [getattr(row, name) for row in rows] for name in ROW_SCHEMA.names}, schema=ROW_SCHEMA
    )


def table_to_rows(table: pa.Table) -> list[Row]:
    """The inverse of `rows_to_table`."""
    return [
        Row(
            **{
                **record,
                "prompt": tuple(record["prompt"]),
                "choices": tuple(tuple(choice) for choice in record["choices"]),
                "chars": tuple(record["chars"]),
                "bytes": tuple(record["bytes"]),
            }
        )
        for record in table.to_pylist()
    ]


def write_cache(folder: Path, rows: Iterable[Row], *, identity: dict[str, Any]) -> None:
    """Write all rows, sorted, as Parquet below `folder`; the manifest, with the file's sha256, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows_to_table(RowTable(rows).all())
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    data = buffer.getvalue()
    num_truncated = sum(count > 0 for count in table["truncated"].to_pylist())
    write_bytes_atomic(folder / _ROWS, data)
    manifest = {
        "identity": identity,
        "num_rows": table.num_rows,
        "num_truncated": num_truncated,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json_atomic(folder / _MANIFEST, manifest)


def read_cache(folder: Path) -> RowTable:
    """The rows written by `write_cache`; ValueError when the cache is missing, incomplete or altered."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        data = (folder / _ROWS).read_bytes()
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}: no whole row cache here ({error})") from None
    if not isinstance(manifest, dict) or "sha256" not in manifest:
        raise ValueError(f"{folder}: no whole row cache here ({_MANIFEST} names no digest)")
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise ValueError(f"{folder / _ROWS}: does not match the digest in its manifest; delete the folder")
    return RowTable(table_to_rows(pq.read_table(io.BytesIO(data))))


def count_truncated(folder: Path) -> int:
    """How many of a written cache's prompts were cut."""
    return json.loads((folder / _MANIFEST).read_bytes())["num_truncated"]


def eval_set_hash(rows: Iterable[Row]) -> str:
    """Hex sha256 over ids, answer lengths and gold of the scored rows, the same for every tokenizer."""
    identity = [(row.task, row.split, row.id, row.chars, row.bytes, row.gold) for row in rows]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _truncate_left(prompt: list[int], limit: int, bos: int | None) -> tuple[int, ...]:
    if len(prompt) <= limit:
        return tuple(prompt)
    if bos is not None and prompt[0] == bos and limit > 1:
        return (bos, *prompt[len(prompt) - limit + 1 :])
    return tuple(prompt[-limit:])
