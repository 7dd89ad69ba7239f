"""The table of test rows that the port and the per-task LoRA answer otherwise."""

from analysis.stats.findings import Target
from analysis.tables.columns import NUMBER, TEXT, WORD, Column
from analysis.tables.table import Table
from analysis.tables.texts import shown_end, shown_start


def contrasts_table(target: Target) -> Table | None:
    """A row for each, those first that the port answers worse; None without any."""
    if not target.contrasts:
        return None
    rows = tuple(
        (
            each.port.task,
            each.port.example,
            shown_end(each.port.prompt),
            shown_start(each.port.right),
            shown_start(each.port.text),
            shown_start(each.lora.text),
            each.port.worth,
            each.lora.worth,
        )
        for each in target.contrasts
    )
    columns = (
        Column("task", WORD),
        Column("row", WORD),
        Column("prompt", TEXT),
        Column("right answer", TEXT),
        Column("port", TEXT),
        Column("per-task LoRA", TEXT),
        Column("worth: port", NUMBER),
        Column("worth: LoRA", NUMBER),
    )
    title = f"{target.base}: rows of unlike worth to port and per-task LoRA (one seed)"
    return Table(title, f"contrasts-{target.slug}", columns, rows)
