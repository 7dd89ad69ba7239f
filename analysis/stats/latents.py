"""`LatentMap`: the task latents of a run in two dimensions, and whether tasks of a kind lie together.

Shapes: T tasks, d_z the width of a latent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.stats.result_table import ResultSet, Run
from portal.results import LATENTS, read_table

MIN_TASKS = 3
"""Fewer latents than this always lie in a plane: a map of them says nothing."""


@dataclass(frozen=True)
class LatentMap:
    """The latents of one run along their first two principal axes.

    `shares` are the parts of the variance along both axes. `alike` is the share of tasks whose nearest other
    latent, by its angle in all dimensions, is of the same kind, and `by_chance` what that is on average where
    kinds have nothing to do with latents; both are null unless there are several kinds, one of them with
    several tasks.
    """

    run: Run
    tasks: tuple[str, ...]
    kinds: tuple[str, ...]  # (T,) empty where a task has none
    places_T2: np.ndarray
    shares: tuple[float, float]
    alike: float | None
    by_chance: float | None


def load_latent_maps(path: Path, study: ResultSet, kinds: Mapping[str, str]) -> tuple[LatentMap, ...]:
    """A map of every variant of joint training that left latents: that of its first seed's run."""
    if not path.exists():
        return ()
    latents: dict[str, dict[str, list[float]]] = {}
    for row in read_table(path, LATENTS).to_pylist():
        latents.setdefault(row["run"], {})[row["task"]] = row["latent"]
    first: dict[object, Run] = {}
    for run in sorted(study.runs, key=lambda run: (run.seed or 0, run.key)):
        if run.cell.spec.runs_on == "sources" and len(latents.get(run.key, ())) >= MIN_TASKS:
            first.setdefault(run.cell.variant, run)
    return tuple(map_latents(run, latents[run.key], kinds) for run in first.values())


def map_latents(run: Run, latents: Mapping[str, list[float]], kinds: Mapping[str, str]) -> LatentMap:
    """The run's latents, tasks sorted, about their mean along the two axes of most variance.

    An axis has two directions: the one is taken in which its largest component is positive.
    """
    tasks = tuple(sorted(latents))
    of_tasks = tuple(kinds.get(task, "") for task in tasks)
    latent_TZ = np.array([latents[task] for task in tasks], dtype=np.float64)
    centred_TZ = latent_TZ - latent_TZ.mean(axis=0)
    _, spread_T, axes_TZ = np.linalg.svd(centred_TZ, full_matrices=False)
    axes_2Z = axes_TZ[:2]
    largest = np.abs(axes_2Z).argmax(axis=1)
    axes_2Z = axes_2Z * np.where(axes_2Z[np.arange(len(axes_2Z)), largest] < 0, -1.0, 1.0)[:, None]
    places_T2 = np.zeros((len(tasks), 2))
    places_T2[:, : len(axes_2Z)] = centred_TZ @ axes_2Z.T
    variance_T = spread_T**2 / max(float((spread_T**2).sum()), np.finfo(float).tiny)
    shares = [*map(float, variance_T[:2]), 0.0][:2]
    alike, by_chance = _alike(latent_TZ, of_tasks)
    return LatentMap(run, tasks, of_tasks, places_T2, (shares[0], shares[1]), alike, by_chance)


def _alike(latent_TZ: np.ndarray, kinds: tuple[str, ...]) -> tuple[float | None, float | None]:
    """How often the latent with the smallest angle to a task's is of its kind, and how often by chance."""
    same_TT = np.array([[one == other != "" for other in kinds] for one in kinds])
    np.fill_diagonal(same_TT, False)
    if len(set(kinds)) < 2 or not same_TT.any():
        return None, None
    unit_TZ = latent_TZ / np.maximum(np.linalg.norm(latent_TZ, axis=1, keepdims=True), np.finfo(float).tiny)
    cosine_TT = unit_TZ @ unit_TZ.T
    np.fill_diagonal(cosine_TT, -np.inf)
    nearest_T = cosine_TT.argmax(axis=1)
    alike = same_TT[np.arange(len(kinds)), nearest_T].mean()
    return float(alike), float(same_TT.sum() / (len(kinds) * (len(kinds) - 1)))
