"""`SearchRecord`: the trials of a search, or the runs of a grid, and what each setting matters."""

from typing import Any, Literal, NamedTuple

from pydantic import Field

from portal.frozen import Frozen
from portal.messages import counted
from portal.storage.paths import Folder
from portal.storage.records import Record

SEARCH_FILE = "search.json"
"""The record, in the folder of a search and beside the collected tables of its studies."""

MIN_TRIALS = 12
"""Fewer complete trials than this say nothing of several settings."""


class Importance(NamedTuple):
    """The share of the scores' variance that a setting explains, with the limits of its interval (95 %)."""

    share: float
    low: float
    high: float


class SearchTrial(Frozen):
    """How a trial ended (`complete`, `pruned`, `fail`, `running`), and its value at `epoch`, its last one."""

    number: int
    state: str
    value: float | None
    epoch: int | None
    settings: dict[str, Any]

    def text(self, name: str) -> str:
        """A setting as people read it; a dash where the trial has none of this name."""
        value = self.settings.get(name, "-")
        if isinstance(value, list):
            return ",".join(map(str, value))
        return f"{value:.3g}" if isinstance(value, float) else str(value)


class SearchRecord(Record):
    """A search of a method's settings, as SEARCH_FILE holds it, or a grid of them that a study has run.

    `trials` have the best first: complete ones, those that were trained longest, by their value.
    `logarithmic` are settings that were drawn on a logarithmic scale. `importance` is by setting; where it is
    empty, `unknown` says why.
    """

    WHAT = "the record of a search"
    REMEDY = "`portal sweep search` writes it anew"

    name: str
    method: str
    metric: str
    direction: Literal["minimize", "maximize"]
    trials: tuple[SearchTrial, ...]
    logarithmic: tuple[str, ...] = ()
    importance: dict[str, Importance] = Field(default_factory=dict)
    unknown: str | None = None
    unit: Literal["trial", "run"] = "trial"

    @property
    def ranked(self) -> tuple[tuple[str, Importance], ...]:
        """The settings with their importance, the greatest first."""
        return tuple(sorted(self.importance.items(), key=lambda item: (-item[1].share, item[0])))

    @property
    def counts(self) -> str:
        """How many trials there are, and how many ended how, for people."""
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "fail"))
        running = f", {states.count('running')} not ended" if "running" in states else ""
        return f"{counted(len(states), 'trial')}; {counts}{running}"

    @property
    def complete(self) -> tuple[SearchTrial, ...]:
        """The trials that came to their end, the best first; the first of `trials`, in their order."""
        return tuple(trial for trial in self.trials if trial.state == "complete")


def read_search(folder: Folder) -> SearchRecord | None:
    """The record in `folder`; None where there is none. ValueError of one line for any other content."""
    return SearchRecord.read(folder / SEARCH_FILE)
