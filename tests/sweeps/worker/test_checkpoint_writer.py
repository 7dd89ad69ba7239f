"""A checkpoint that is written beside training holds what was there when it was asked for, or its error."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from portal.storage.checkpoint import load_latest
from sweeps.store.lease import LeaseLost
from sweeps.worker.checkpoint_writer import CheckpointWriter

SOON_S = 60.0


def allow() -> None:
    """The permit of a worker that may commit."""


def refuse() -> None:
    raise LeaseLost("the folder has another driver")


class Gate:
    """A permit that waits until it is opened, so that a checkpoint stays half-written for so long."""

    def __init__(self) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._opened.wait(SOON_S)

    def open(self) -> None:
        self._opened.set()


def ended(writer: CheckpointWriter) -> None:
    """Return when nothing is being written; what went wrong stays for the next call."""
    assert writer._writing is not None
    writer._writing.exception(SOON_S)


def test_the_state_is_saved_as_it_was_and_its_owner_goes_on_meanwhile(tmp_path: Path) -> None:
    writer, gate = CheckpointWriter(tmp_path), Gate()
    weights, meta = torch.arange(12.0).view(3, 4), {"scored": [["sums", 1]]}

    writer.start(1, {"w": weights, "t": weights.T}, meta, gate)
    weights.zero_()
    meta["scored"].append(["names", 1])
    assert gate.reached.wait(SOON_S)
    assert load_latest(tmp_path) is None
    writer.check()
    gate.open()
    writer.wait()

    found = load_latest(tmp_path)
    assert found is not None
    assert found.meta == {"scored": [["sums", 1]]}
    assert torch.equal(found.tensors["w"], torch.arange(12.0).view(3, 4))
    assert torch.equal(found.tensors["t"], torch.arange(12.0).view(3, 4).T)
    assert writer.seconds > 0


def test_checkpoints_are_written_one_after_another(tmp_path: Path) -> None:
    writer, gate = CheckpointWriter(tmp_path), Gate()
    writer.start(1, {"w": torch.ones(1)}, {}, gate)
    second = threading.Thread(target=writer.start, args=(2, {"w": torch.ones(1)}, {}, allow))
    second.start()
    assert gate.reached.wait(SOON_S)
    second.join(0.1)
    assert second.is_alive()

    gate.open()
    second.join(SOON_S)
    writer.wait()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000001", "0000000002"]


@pytest.mark.parametrize(
    "then",
    [
        CheckpointWriter.check,
        CheckpointWriter.wait,
        lambda writer: writer.start(2, {"w": torch.ones(1)}, {}, allow),
    ],
    ids=["check", "wait", "start"],
)
def test_what_goes_wrong_in_writing_is_raised_once_by_what_comes_next(
    tmp_path: Path, then: Callable[[CheckpointWriter], None]
) -> None:
    writer = CheckpointWriter(tmp_path)
    writer.start(1, {"w": torch.ones(1)}, {}, refuse)
    ended(writer)

    with pytest.raises(LeaseLost):
        then(writer)

    assert load_latest(tmp_path) is None
    writer.start(3, {"w": torch.ones(1)}, {}, allow)
    writer.wait()
    found = load_latest(tmp_path)
    assert found is not None
    assert found.sequence == 3


def test_a_full_disk_says_where_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = CheckpointWriter(tmp_path)
    writer.start(1, {"w": torch.ones(1)}, {}, allow)
    writer.wait()

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refused)
        writer.start(2, {"w": torch.ones(1)}, {}, allow)
        error = writer.failure()

    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert str(tmp_path) in str(error)
    found = load_latest(tmp_path)
    assert found is not None
    assert found.sequence == 1
