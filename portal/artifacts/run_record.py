"""`RunRecord`: what the run that makes or made an artifact leaves beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.artifacts.portal_record import Lineage, SourceRecord
from portal.bases.base import Base
from portal.config import BaseRef, RunConfig
from portal.results import RESULTS, RESULTS_FILE, read_table
from portal.storage.records import RUN, enclosing_run


@dataclass(frozen=True)
class RunRecord:
    """A run's key, its config as JSON, its result rows, and the versions of the packages that it began with.

    `epochs` says by task which epoch's parameters the artifact has: the last one where a task is not in it.
    `taught_by` has, by task whose latent comes from another artifact, that one's record, or None.
    """

    key: str
    config: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    taught_by: Mapping[str, "RunRecord | None"] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunConfig) -> "RunRecord":
        """The record of a run of which nothing but the config is known."""
        return cls(run.key, run.model_dump(mode="json"))

    def made(self, task: str) -> bool:
        """Whether the run itself gave the task what the artifact has of it."""
        return task in self.config["data"]["tasks"] and task not in self.taught_by

    def maker(self, task: str) -> "RunRecord | None":
        """The record of the run that gave the task its latent: this one, or that of another artifact's."""
        if self.made(task):
            return self
        taught = self.taught_by.get(task)
        return taught if taught is not None and taught.made(task) else None

    def scores(self, task: str) -> Mapping[str, Any] | None:
        """The row of the result table for `task` on test rows, at the epoch that the artifact is of."""
        rows = [row for row in self.results if (row["task"], row["split"]) == (task, "test")]
        if task in self.epochs:
            rows = [row for row in rows if row["epoch"] == self.epochs[task]]
        return max(rows, key=lambda row: row["epoch"], default=None)

    def lineage(self, base: Base, source: SourceRecord | None) -> Lineage:
        """The lineage of the run's artifact for `base`; `source` is the artifact that a port starts from."""
        precisions = {ref["name"]: ref["precision"] for ref in self.config["bases"]}
        return Lineage(
            run=self.key,
            method=self.config["method"],
            seed=self.config["seed"],
            base=BaseRef(name=base.public_name, revision=base.revision, precision=precisions[base.name]),
            source_bases=self.config["source_bases"],
            source=source,
            versions=dict(self.versions),
        )


def read_run_record(artifact: Path) -> RunRecord | None:
    """The record in the run's folder that holds `artifact`; None for an artifact from elsewhere."""
    folder = enclosing_run(artifact)
    if folder is None or not (folder / RUN).is_file() or not (folder / RESULTS_FILE).is_file():
        return None
    recorded = json.loads((folder / RUN).read_bytes())
    try:
        results = read_table(folder / RESULTS_FILE, RESULTS).to_pylist()
    except ValueError:
        results = []  # written by a newer version: the card says that scores are not recorded
    epochs = {row["task"]: row["epoch"] for row in results if row["kept"]}
    return RunRecord(folder.name, recorded["config"], results, recorded.get("versions", {}), epochs)
