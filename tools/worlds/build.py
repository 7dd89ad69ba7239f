"""`python -m tools.worlds.build [SUITE...]`: draws the rows of embedded suites, always the same.

It writes `rows.parquet`. The names in `suite.yaml` are written by hand: a test compares them with the tasks,
kinds and forms of choices that are drawn here.
"""

import argparse
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from portal.embedded import FOLDER, SUITES
from portal.tasks.example import SPLITS, Example
from tools.worlds.ledger.tasks import LEDGER_TASKS, ledger_examples
from tools.worlds.mini.tasks import MINI_TASKS, mini_examples
from tools.worlds.village.tasks import VILLAGE_TASKS, village_examples
from tools.worlds.words.tasks import WORD_TASKS, word_examples
from tools.worlds.words.written import WRITTEN_TASKS, written_examples

DRAWN: dict[str, tuple[tuple[str, ...], Callable[[str, str], list[Example]]]] = {
    "mini": (MINI_TASKS, mini_examples),
    "village": (VILLAGE_TASKS, village_examples),
    "ledger": (LEDGER_TASKS, ledger_examples),
    "words": (WORD_TASKS, word_examples),
    "written-words": (WRITTEN_TASKS, written_examples),
}
"""By suite: its tasks in their order, and what draws the examples of a task and split."""
_TEXT = pa.string()
_SCHEMA = pa.schema(
    {
        "task": _TEXT, "split": _TEXT, "id": _TEXT, "prompt": _TEXT, "choices": pa.list_(_TEXT),
        "gold": pa.int8(), "cluster": _TEXT, "references": pa.list_(_TEXT),
    }
)  # fmt: skip


def draw_rows(suite: str) -> pa.Table:
    """All rows of the suite: by task, then by split, in the order in which they are drawn."""
    tasks, draw = DRAWN[suite]
    rows = [
        {
            "task": task, "split": split, "id": each.id, "prompt": each.prompt, "choices": each.choices,
            "gold": each.gold, "cluster": each.cluster,
            "references": None if each.written is None else each.written.references,
        }
        for task in tasks
        for split in SPLITS
        for each in draw(task, split)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, _SCHEMA)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the rows of embedded suites anew.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all without one")
    for suite in parser.parse_args().suites or SUITES:
        path = FOLDER / suite / "rows.parquet"
        pq.write_table(draw_rows(suite), path, compression="zstd", compression_level=19)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
