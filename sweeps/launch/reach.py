"""`training_fits`: whether new tasks seem within the reach of a frozen core, by their own training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base, load_base
from portal.config import RunConfig
from portal.data.token_cache import read_cache
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import guess_left, score_rows
from portal.forward.adapter_hooks import adapted
from portal.learners.schedule import DataOrder
from portal.storage.paths import Folder
from sweeps.launch.single_run import ARTIFACT, SingleRun
from sweeps.launch.tokenize import prepare_rows
from sweeps.worker.build_learners import BASES

REACH = 0.5
"""What may be left of a guess's uncertainty on training rows: docs/results/village-settings has why."""
MIN_ROWS = 8
"""Fewer rows are fitted by some latent whatever the task is, so nothing follows from them."""
_MOST_ROWS = 64
"""More of a task's rows change its fit by little."""


@dataclass(frozen=True)
class TrainingFit:
    """What a taught latent leaves of a guess's uncertainty on the rows that it was fitted to."""

    task: str
    num_rows: int
    left: float

    @property
    def within_reach(self) -> bool:
        """Whether the core can express the task, as it seems."""
        return self.left <= REACH


def training_fits(single: SingleRun, out: Path, *, device: str, gpus: int = 1) -> Sequence[TrainingFit]:
    """The fit of the new tasks with `MIN_ROWS` rows or more, of a finished run of `teach_run` in `out`.

    Tasks with written answers have none: nobody guesses among choices there.
    """
    run = single.config
    (ref,) = run.bases
    folders = prepare_rows(
        single.suite,
        run.data.tasks,
        [ref.name],
        out,
        max_prompt=run.data.max_prompt,
        data_hash=run.data.data_hash,
    )
    enough = telling_rows(run, folders[ref.name])
    if not enough:
        return []
    base = BASES.loaded(ref, device) or load_base(
        ref.name, device=device, revision=ref.revision, precision=ref.precision, num_gpus=gpus
    )
    return fit_tasks(base, Artifact.load(out / ARTIFACT), enough)


def telling_rows(run: RunConfig, tokens: Folder) -> dict[str, Sequence[TokenRow]]:
    """By task the rows that a run on one base was fitted to, of the token cache in `tokens`.

    At most 64 a task; tasks with fewer than `MIN_ROWS`, or with written answers, are left out.
    """
    (ref,) = run.bases
    by_task = DataOrder(run, {ref.name: read_cache(tokens)}).first_rows(ref.name, _MOST_ROWS)
    return {
        task: rows for task, rows in by_task.items() if len(rows) >= MIN_ROWS and task not in run.data.answers
    }


def fit_tasks(
    base: Base, artifact: Artifact, rows_by_task: Mapping[str, Sequence[TokenRow]]
) -> list[TrainingFit]:
    """How well the artifact's adapters fit these rows of its tasks."""
    fits = []
    for task, rows in rows_by_task.items():
        with adapted(base, artifact.factors((task,)), artifact.config.adapter.scaling):
            fits.append(TrainingFit(task, len(rows), guess_left(score_rows(base, rows))))
    return fits
