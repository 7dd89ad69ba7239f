"""The table of test rows that the port and the per-task LoRA answer otherwise."""

from analysis.stats.findings import Target
from analysis.tables.columns import NUMBER, TEXT, WORD, Column
from analysis.tables.runs import page_of
from analysis.tables.table import Table
from analysis.tables.texts import shown_end, shown_start


def contrasts_table(target: Target, pages: str | None = None) -> Table | None:
    """A row for each, those first that the port answers worse; None without any.

    With `pages`, the folder of the pages of runs, answers lead to the run that gave them.
    """
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
    links = {}
    if pages is not None:
        for place, name in enumerate(("port", "per-task LoRA")):
            links[name] = tuple(f"{pages}/{page_of(each.runs[place])}" for each in target.contrasts)
    return Table(title, f"contrasts-{target.slug}", columns, rows, links=links)
