"""fsck finds no fault in what `portal train` and `portal port` leave, in this version and in older ones."""

from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.fsck import check_folder


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


def test_the_folder_of_a_version_that_did_not_record_the_pack_has_no_fault(trained: Path) -> None:
    (record,) = (trained / "packs").glob("*/pack.json")
    content = record.read_bytes()
    record.unlink()

    faults, _ = check_folder(trained)
    record.write_bytes(content)

    assert faults == []


def test_a_pack_of_no_run_here_is_a_fault(trained: Path) -> None:
    stray = trained / "packs" / ("0" * 16)
    stray.mkdir()

    faults, _ = check_folder(trained)
    stray.rmdir()

    assert [(fault.path, fault.what) for fault in faults] == [
        (stray, "does not name the runs that its name stands for")
    ]
