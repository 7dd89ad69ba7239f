"""fsck finds every altered bit, stray files and missing ones, and nothing in an untouched folder."""

import random
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.fsck import check_folder


def test_a_finished_study_has_no_faults(finished: Path) -> None:
    faults, count = check_folder(finished)

    assert faults == []
    assert count > 9


@pytest.mark.slow
def test_every_flipped_bit_is_found(finished: Path) -> None:
    """Flips 200 bits of rows, run folders and pack records, one after another."""
    draw = random.Random(0)
    places = [
        path
        for folder in ("runs", "rows", "packs")
        for path in sorted((finished / folder).rglob("*"))
        if path.is_file() and path.stat().st_size > 0
    ]
    assert len({path.suffix for path in places}) >= 3
    missed = []
    for _ in range(200):
        path = draw.choice(places)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        if not check_folder_of(finished, path):
            missed.append(path.relative_to(finished))
        path.write_bytes(whole)

    assert missed == []


def check_folder_of(out: Path, path: Path) -> bool:
    """Whether a fault is found in the run, pack or cache that `path` belongs to."""
    folder = out / Path(*path.relative_to(out).parts[:2])
    faults, _ = check_folder(out)
    return any(fault.path == folder or folder in fault.path.parents for fault in faults)


def test_texts_of_questions_that_cannot_be_read_are_a_fault(finished: Path) -> None:
    (path,) = (finished / "questions").iterdir()
    path.write_bytes(path.read_bytes()[:-10])

    (fault,) = check_folder(finished)[0]

    assert (fault.path, fault.remedy) == (path, "delete it: the next launch writes it anew")


def test_a_stray_file_and_a_missing_one_are_faults(finished: Path) -> None:
    run = next(iter(sorted((finished / "runs").iterdir())))
    (run / "notes.txt").write_text("mine")
    (run / "results.parquet").unlink()

    faults, _ = check_folder(finished)

    assert {(fault.path.name, fault.what) for fault in faults} == {
        ("notes.txt", "not written by the run"),
        ("results.parquet", "missing"),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `portal train`."""
    out = tmp_path_factory.mktemp("trained")
    train = ["train", "--source", "mini-qwen3-xs", "--tasks", "counting", "--rank", "2", "--no-base"]
    assert main([*train, "--examples", "4", "--epochs", "1", "--out", str(out)]) == 0
    return out


def test_the_folder_of_one_run_has_no_fault(trained: Path) -> None:
    assert len(list((trained / "packs").iterdir())) == 1
    assert check_folder(trained)[0] == []


def test_a_pack_of_no_run_here_is_a_fault(trained: Path) -> None:
    stray = trained / "packs" / ("0" * 16)
    stray.mkdir()

    faults, _ = check_folder(trained)
    stray.rmdir()

    assert [(fault.path, fault.what) for fault in faults] == [
        (stray, "does not name the runs that its name stands for")
    ]
