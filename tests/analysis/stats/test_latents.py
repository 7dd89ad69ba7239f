"""The map of latents: the plane of most variance, always the same way round, and kinds that lie together."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from analysis.stats.latents import LatentMap, load_latent_maps, map_latents
from portal.results import LATENTS, write_table
from tests.support.result_tables import row, study_of


def source_runs(*seeds: int, label: str = "source") -> list[dict]:
    return [
        row(run=f"{label}{seed}", method="source", label=label, seed=seed, size=8, base=base, task="a")
        for seed in seeds
        for base in ("small", "tiny")
    ]


def map_of(latents: dict[str, list[float]], kinds: dict[str, str] | None = None) -> LatentMap:
    return map_latents(study_of(source_runs(0)).runs[0], latents, kinds or {})


def test_the_axes_are_those_of_most_variance_about_the_mean() -> None:
    generator = np.random.default_rng(0)
    latent_TZ = generator.normal(0, (0.1, 3.0, 1.0, 0.2), (40, 4)) + 5
    found = map_of({f"t{place:02d}": list(latent) for place, latent in enumerate(latent_TZ)})

    centred = latent_TZ - latent_TZ.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    assert found.shares == pytest.approx(tuple(values[::-1][:2] / values.sum()))
    for place in (0, 1):
        axis = vectors[:, -1 - place]
        expected = centred @ (axis * np.sign(axis[np.abs(axis).argmax()]))
        np.testing.assert_allclose(found.places_T2[:, place], expected, atol=1e-9)


def test_the_largest_component_of_an_axis_is_positive() -> None:
    latents = {"a": [-9.0, 0.0], "b": [9.0, 0.0], "c": [0.0, 1.0]}

    found = map_of(latents)
    flipped = map_of({task: [-x, -y] for task, (x, y) in latents.items()})

    assert found.places_T2[1, 0] > 0 > found.places_T2[0, 0]
    np.testing.assert_allclose(flipped.places_T2, -found.places_T2, atol=1e-9)


def test_nearest_latents_of_one_kind_are_counted_beside_what_chance_gives() -> None:
    latents = {"a": [1.0, 0.0, 0], "b": [9.0, 0.1, 0], "c": [0, 0, 1.0], "d": [0, 0.1, 5.0]}
    alike = map_of(latents, {"a": "x", "b": "x", "c": "y", "d": "y"})

    assert (alike.alike, alike.by_chance) == (1.0, pytest.approx(1 / 3))
    assert map_of(latents, {"a": "x", "b": "y", "c": "x", "d": "y"}).alike == 0.0
    for kinds in ({}, dict.fromkeys("abcd", "x"), {task: task for task in "abcd"}):
        none = map_of(latents, kinds)  # no kinds that share and differ
        assert (none.alike, none.by_chance) == (None, None)


def test_latents_that_are_all_the_same_lie_at_one_place() -> None:
    found = map_of({task: [0.5, 0.5] for task in "abc"})

    assert not found.places_T2.any()
    assert found.shares == (0.0, 0.0)


def test_the_first_seeds_run_of_every_source_is_shown_where_it_left_latents(tmp_path: Path) -> None:
    study = study_of([*source_runs(1, 2), *source_runs(0, label="wide")])
    left = [
        {"run": run, "task": task, "latent": [float(place), 1.0]}
        for run in ("source1", "source2", "elsewhere")
        for place, task in enumerate("abc")
    ]
    path = tmp_path / "latents.parquet"

    assert load_latent_maps(path, study, {}) == ()
    write_table(pa.Table.from_pylist(left, schema=LATENTS), path)
    (only,) = load_latent_maps(path, study, {"a": "x"})

    assert (only.run.key, only.tasks, only.kinds) == ("source1", ("a", "b", "c"), ("x", "", ""))
