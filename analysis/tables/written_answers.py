"""The table of test rows that the port and the per-task LoRA answer otherwise in writing."""

from analysis.stats.findings import Target
from analysis.tables.columns import NUMBER, WORD, Column
from analysis.tables.table import Table

_MOST_CHARS = 240
"""Characters of a text that are shown: of a prompt the last ones, of an answer the first."""


def written_answers_table(target: Target) -> Table | None:
    """A row for each, those first that the port answers worse; None without any."""
    if not target.contrasts:
        return None
    rows = tuple(
        (
            each.task,
            _end(each.prompt),
            _start(each.reference),
            _start(each.port),
            _start(each.lora),
            each.port_value,
            each.lora_value,
        )
        for each in target.contrasts
    )
    columns = (
        Column("task", WORD),
        Column("prompt", WORD),
        Column("right answer", WORD),
        Column("port", WORD),
        Column("per-task LoRA", WORD),
        Column("worth: port", NUMBER),
        Column("worth: LoRA", NUMBER),
    )
    title = f"{target.base}: written answers that differ in worth (one seed)"
    return Table(title, f"written-{target.slug}", columns, rows)


def _start(text: str) -> str:
    line = _one_line(text)
    return line if len(line) <= _MOST_CHARS else f"{line[:_MOST_CHARS]} ..."


def _end(text: str) -> str:
    line = _one_line(text)
    return line if len(line) <= _MOST_CHARS else f"... {line[-_MOST_CHARS:]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
