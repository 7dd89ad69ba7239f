"""`Contrast`: a row that port and LoRA answer otherwise; `Lead`: how far a port leads with as many rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.answers import ShownAnswer, ShownAnswers
from analysis.stats.bootstrap import Bootstrap, Interval, choose_runs
from analysis.stats.result_table import Cell, ResultSet
from portal.methods import port_methods
from portal.results import Question

MOST_OF_A_TASK, MOST_OF_A_BASE = 3, 60
"""Rows that are shown of one task, and of all tasks together."""


@dataclass(frozen=True)
class Contrast:
    """A test row, the answers of both methods, and the keys of the runs that gave them."""

    port: ShownAnswer
    lora: ShownAnswer
    runs: tuple[str, str]

    @property
    def order(self) -> tuple[float, float]:
        """Rows that the port answers worse come first, then those that it is further off in."""
        return self.port.worth - self.lora.worth, (self.port.lead or 0) - (self.lora.lead or 0)


def find_contrasts(
    study: ResultSet,
    comparison: Comparison,
    port: MethodSummary | None,
    *,
    predictions: pa.Table | None,
    generations: pa.Table | None,
    questions: Mapping[tuple[str, str], Question],
) -> tuple[Contrast, ...]:
    """Rows on which the worth of both answers differs, by their first common seed, at the rule's epochs.

    In each task those come first that the port answers worse. MOST_OF_A_TASK are kept, fewer where tasks are
    more than MOST_OF_A_BASE has room for. Rows whose prompts the study's folder does not know say nothing.
    """
    lora = comparison.reference_lora
    if port is None or lora is None:
        return ()
    chosen = choose_runs(study, [port.cell, lora.cell], comparison.rule)
    members = [chosen.members.get(cell, {}) for cell in (port.cell, lora.cell)]
    seeds = sorted(set(members[0]) & set(members[1]), key=lambda seed: seed or 0)
    if not seeds:
        return ()
    keys = [of_cell[seeds[0]] for of_cell in members]
    runs = {key: chosen.runs[key] for key in keys}
    answers = ShownAnswers(
        predictions, generations, questions, runs, {key: chosen.epochs[key] for key in keys}
    )
    ported, other = (answers.of(key) for key in keys)
    found: dict[str, list[Contrast]] = {}
    for place in sorted(ported.keys() & other.keys()):
        if ported[place].prompt and ported[place].worth != other[place].worth:
            contrast = Contrast(ported[place], other[place], (keys[0], keys[1]))
            found.setdefault(place[0], []).append(contrast)
    most = max(1, min(MOST_OF_A_TASK, MOST_OF_A_BASE // max(len(found), 1)))
    shown = [contrast for own in found.values() for contrast in _worst(own, most)]
    if len(shown) > MOST_OF_A_BASE:
        kept = {id(each) for each in _worst(shown, MOST_OF_A_BASE)}
        shown = [each for each in shown if id(each) in kept]
    return tuple(shown)


def _worst(contrasts: Sequence[Contrast], most: int) -> list[Contrast]:
    return sorted(contrasts, key=lambda each: each.order)[:most]


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
