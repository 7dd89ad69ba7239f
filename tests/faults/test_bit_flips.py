"""One flipped bit in rows, a checkpoint or frozen weights is found before anything is computed from it."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from portal.bases.base import load_base
from portal.bases.files import locate
from portal.data.token_cache import cached_extent, read_cache
from portal.storage.checkpoint import check_checkpoints, load_latest, save_checkpoint
from tests.support.counts import times
from tests.support.studies import Tables

pytestmark = pytest.mark.slow

BASE = "mini-qwen3-xs"


def rows(place: Path, unbroken: Path) -> Callable[[], None]:
    (cache, *_) = sorted((unbroken / "rows").iterdir())
    shutil.copytree(cache, place)

    def check() -> None:
        read_cache(place)
        cached_extent(place)

    return check


def checkpoint(place: Path, unbroken: Path) -> Callable[[], None]:
    save_checkpoint(place, 1, {"w": torch.arange(3000.0)}, {"step": 1})

    def check() -> None:
        faults = check_checkpoints(place)
        if faults:
            assert load_latest(place) is None
            raise ValueError(faults[0][1])

    return check


def weights(place: Path, unbroken: Path) -> Callable[[], None]:
    shutil.copytree(locate(BASE).location, place)
    revision = locate(str(place)).revision()
    return lambda: load_base(str(place), revision=revision) and None


@pytest.mark.parametrize(
    ("thing", "flips"),
    [(rows, times(16, nightly=200)), (checkpoint, times(16, nightly=200)), (weights, times(8, nightly=100))],
)
def test_every_flipped_bit_is_found(
    thing: Callable[[Path, Path], Callable[[], None]],
    flips: int,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
) -> None:
    place = tmp_path / "place"
    check = thing(place, unbroken[0])
    check()
    draw = random.Random(0)
    unread = (".md", "generation_config.json")  # no number depends on them
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and not path.name.endswith(unread)]
    assert len(files) >= 2
    found, missed = 0, []
    for _ in range(flips):
        path = draw.choice(files)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        where, bit = draw.randrange(len(flipped)), draw.randrange(8)
        flipped[where] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            check()
        except ValueError:
            found += 1
        else:
            missed.append(f"{path.name}, byte {where}, bit {bit}")
        path.write_bytes(whole)
    check()
    assert missed == []
    assert found == flips
