"""`Lead`: how far a port is ahead of another method with as many rows per task."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.stats.aggregate import Comparison
from analysis.stats.bootstrap import Bootstrap, Interval
from analysis.stats.result_table import Cell
from portal.methods import port_methods


@dataclass(frozen=True)
class Lead:
    """The accuracy of a port less that of another method on the same base with as many rows, paired."""

    port: Cell
    against: Cell
    difference: Interval
    num_seeds: int


def find_leads(
    comparison: Comparison, bootstrap: Bootstrap | None, source_tasks: Mapping[str, tuple[str, ...]]
) -> tuple[Lead, ...]:
    """Every port at every size against the other methods there, each two ports once; none without draws.

    Two labels that are known to have sources of other tasks (`source_tasks`) are not compared.
    """
    if bootstrap is None:
        return ()
    cells = [
        summary.cell
        for summary in comparison.summaries
        if summary.acc.mean is not None and summary.cell.size is not None
    ]
    ports = [cell for cell in cells if cell.method in port_methods()]
    leads = []
    for place, port in enumerate(ports):
        for against in cells:
            if against.size != port.size or against in ports[: place + 1]:
                continue
            sources = {source_tasks.get(cell.variant.name) for cell in (port, against)} - {None}
            if len(sources) < 2 and bootstrap.can_compare(port, against):
                difference = bootstrap.difference(port, against)
                leads.append(Lead(port, against, difference, len(bootstrap.shared_seeds(port, against))))
    return tuple(leads)
