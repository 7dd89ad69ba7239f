"""`Contrast`: a row that the port and the per-task LoRA answer otherwise, of tasks with written answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import choose_runs
from analysis.stats.epoch_selection import REPORTED_SPLIT
from analysis.stats.result_table import ResultSet
from portal.results import GENERATIONS, read_table

MOST_OF_A_TASK = 3
"""Rows of one task that are shown, where there are more."""


@dataclass(frozen=True)
class Contrast:
    """A test row, and the answers of both methods with their worth, 0 to 1."""

    task: str
    example: str
    prompt: str
    reference: str
    port: str
    port_value: float
    lora: str
    lora_value: float


def find_contrasts(
    study: ResultSet, comparison: Comparison, port: MethodSummary | None, path: Path
) -> tuple[Contrast, ...]:
    """Rows on which the worth of both answers differs, by their first common seed, at the rule's epochs.

    In each task those come first that the port answers worse; MOST_OF_A_TASK are kept. `path` is the table of
    answers, of which those of the two runs are read, as `read_table` does; none where it is not there.
    """
    lora = comparison.reference_lora
    if port is None or lora is None or not path.exists():
        return ()
    chosen = choose_runs(study, [port.cell, lora.cell], comparison.rule)
    members = [chosen.members.get(cell, {}) for cell in (port.cell, lora.cell)]
    seeds = sorted(set(members[0]) & set(members[1]), key=lambda seed: seed or 0)
    if not seeds:
        return ()
    keys = [of_cell[seeds[0]] for of_cell in members]
    answers = [_answers_of(path, key, chosen.epochs[key]) for key in keys]
    found: dict[str, list[Contrast]] = {}
    for place in sorted(answers[0].keys() & answers[1].keys()):
        ported, other = answers[0][place], answers[1][place]
        if ported["value"] != other["value"]:
            contrast = Contrast(
                *place, ported["prompt"], ported["references"][0],
                ported["text"], ported["value"], other["text"], other["value"],
            )  # fmt: skip
            found.setdefault(contrast.task, []).append(contrast)
    return tuple(contrast for own in found.values() for contrast in _worst(own))


def _worst(contrasts: Sequence[Contrast]) -> list[Contrast]:
    return sorted(contrasts, key=lambda each: each.port_value - each.lora_value)[:MOST_OF_A_TASK]


def _answers_of(path: Path, key: str, epochs: Mapping[str, int]) -> dict[tuple[str, str], dict]:
    """The run's answers to reported rows at the chosen epochs, by task and example."""
    filters = [("split", "==", REPORTED_SPLIT), ("run", "==", key)]
    rows = read_table(path, GENERATIONS, filters=filters).to_pylist()
    return {(row["task"], row["example"]): row for row in rows if row["epoch"] == epochs.get(row["task"])}
