"""The state of a pack comes back as it was saved; a worker that may not commit changes nothing.

A checkpoint that is written beside training holds what was there when it was asked for, or its error.
"""

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from portal.bases.base import Base
from portal.config import RunConfig
from portal.results import LOSSES, PREDICTIONS, RESULTS, read_table
from portal.storage.checkpoint import Checkpoint, load_latest
from portal.training.pack import Pack
from sweeps.store.lease import LeaseLost
from sweeps.store.run_store import UNFINISHED, Circumstances, PackStore, RunStore, pack_key
from sweeps.worker.job import log_path
from sweeps.worker.pack_checkpoint import CheckpointWriter, PackCheckpoint
from tests.support.bases import make_base, make_run
from tests.support.packs import make_pack
from tests.support.studies import Interruption
from tests.support.zoo import tiny_base

RUNS = [make_run("lora", "target", seed=seed) for seed in (0, 1)]
KEY = pack_key([run.key for run in RUNS])


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("target", "qwen3")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path)
    for run in RUNS:
        store.write_run(run)
    return store


def checkpoint_of(store: RunStore) -> PackCheckpoint:
    return PackCheckpoint(store, PackStore(store.out), KEY)


def folder_of(store: RunStore) -> Path:
    return Path(PackStore(store.out).pack_folder(KEY))


def new_pack(base: Base, runs: list[RunConfig] = RUNS) -> Pack:
    return make_pack({"target": base}, runs, None)


def stepped_pack(base: Base) -> Pack:
    """A pack two steps after its start, with its scores of epoch 0."""
    pack = new_pack(base)
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    for _ in range(2):
        pack.step()
    pack.sync_metrics()
    return pack


def saved_in(folder: Path) -> Checkpoint:
    """The newest checkpoint there, which must be."""
    found = load_latest(folder)
    assert found is not None
    return found


def run_to_end(pack: Pack, state: PackCheckpoint) -> int:
    """Take all steps of a pack and keep all its scores; the number of result rows."""
    rows = 0
    while pack.active:
        for learner, epoch in pack.due():
            evaluation = pack.evaluate(learner, epoch)
            state.add(learner.key, evaluation)
            rows += len(evaluation.results)
        if any(learner.step < learner.num_steps for learner in pack.active):
            pack.step()
    return rows


def allow() -> None:
    """The permit of a worker that may commit."""


def refuse() -> None:
    raise LeaseLost("the folder has another driver")


def test_learners_come_back_as_they_were_saved(base: Base, store: RunStore) -> None:
    pack, fresh = stepped_pack(base), new_pack(base)
    checkpoint_of(store).save(pack.learners, {"target": 128}, allow)

    limits = checkpoint_of(store).restore(fresh.learners)

    assert limits == {"target": 128}
    for ours, theirs in zip(fresh.learners, pack.learners, strict=True):
        assert (ours.step, ours.train_tokens) == (2, theirs.train_tokens)
        assert all(torch.equal(ours.tensors()[name], value) for name, value in theirs.tensors().items())


def test_a_run_whose_turn_is_later_stays_in_every_checkpoint_until_it_is_finished(
    base: Base, store: RunStore
) -> None:
    pack = stepped_pack(base)
    checkpoint_of(store).save(pack.learners, {}, allow)
    state = checkpoint_of(store)
    first = new_pack(base, RUNS[:1])
    state.restore(first.learners)
    state.save(first.learners, {}, allow)

    second = new_pack(base, RUNS[1:])
    checkpoint_of(store).restore(second.learners)
    store.mark_failed(RUNS[1].key, "diverged", log_path(store.out, 0))
    last = checkpoint_of(store)
    last.restore(first.learners)
    last.save(first.learners, {}, allow)

    assert second.learners[0].step == 2
    assert set(saved_in(folder_of(store) / "state").meta["runs"]) == {RUNS[0].key}


def test_scores_count_from_the_next_checkpoint_on_and_those_after_it_are_made_again(
    base: Base, store: RunStore
) -> None:
    pack = new_pack(base)
    (learner, epoch), _ = pack.due()
    evaluation = pack.evaluate(learner, epoch)
    state = checkpoint_of(store)
    state.add(learner.key, evaluation)
    state.save(pack.learners, {}, allow)
    state.add(learner.key, evaluation)

    resumed = checkpoint_of(store)
    resumed.restore(new_pack(base).learners)
    resumed.add(learner.key, evaluation)

    parts = sorted(path.name for path in (folder_of(store) / "parts" / learner.key).iterdir())
    assert parts == [
        f"00000{part}.{table}.parquet" for part in (0, 1) for table in ("predictions", "results")
    ]


def test_a_worker_that_may_not_commit_leaves_neither_checkpoint_nor_marker(
    base: Base, store: RunStore
) -> None:
    pack = stepped_pack(base)
    state = checkpoint_of(store)
    state.save(pack.learners, {}, allow)
    state.add(pack.learners[0].key, new_pack(base).evaluate(pack.learners[0], 0))

    with pytest.raises(LeaseLost):
        state.save(pack.learners, {}, refuse)
    with pytest.raises(LeaseLost):
        state.finish(pack.learners[0], refuse, log="lane-0.log")

    assert saved_in(folder_of(store) / "state").sequence == 1
    assert not store.is_done(pack.learners[0].key)


def test_an_end_of_training_waits_for_the_checkpoint_that_is_being_written(
    base: Base, store: RunStore, caplog: pytest.LogCaptureFixture
) -> None:
    pack = stepped_pack(base)
    state = checkpoint_of(store)

    def train(permit: Callable[[], None], ends_with: type[Exception] | None) -> None:
        with state.writing():
            state.save(pack.learners, {}, permit, wait=False)
            if ends_with is not None:
                raise ends_with

    with pytest.raises(Interruption):
        train(allow, Interruption)
    saved = saved_in(folder_of(store) / "state")
    with pytest.raises(LeaseLost):
        train(refuse, None)
    with pytest.raises(Interruption):
        train(refuse, Interruption)

    assert saved.sequence == 1
    (record,) = caplog.records
    assert "the last checkpoint of this pack is not written: the folder has" in record.getMessage()


def test_a_finished_run_remembers_modules_of_some_layers_and_operations_of_the_bases_in_its_process(
    tmp_path: Path,
) -> None:
    """Of a base that another worker of the team runs it has an outline, which computes nothing."""
    run, store = make_run("source", "hybrid", "other"), RunStore(tmp_path)
    bases = {
        "hybrid": replace(tiny_base("qwen3_5_text"), name="hybrid"),
        "other": make_base("other", "qwen3"),
    }
    store.write_run(run)
    pack = make_pack(bases, [run], None)
    state, (learner,) = checkpoint_of(store), pack.learners
    for _, epoch in pack.due():
        state.add(learner.key, pack.evaluate(learner, epoch))
    with torch.device("meta"):
        outline = replace(make_base("other", "qwen3"), operations="plain")
    learner.bases |= {"hybrid": replace(bases["hybrid"], operations="fused"), "other": outline}

    state.finish(learner, allow, log="lane-0.log")

    known = store.circumstances(learner.key)
    (note,) = known.coverage
    assert note.startswith("base hybrid: q and v of 4 layers are adapted as q in 2 and in_qkv for q in 2")
    assert outline.device.type == "meta"
    assert known.operations == ("fused",)


def test_a_finished_run_has_tables_of_all_its_scores_an_artifact_and_its_marker(
    base: Base, store: RunStore
) -> None:
    pack = new_pack(base, RUNS[:1])
    (learner,) = pack.learners
    state = checkpoint_of(store)
    rows = run_to_end(pack, state)

    state.finish(learner, allow, log="lane-0.log")
    state.clear()

    folder = store.run_folder(learner.key)
    assert store.is_done(learner.key)
    known = store.circumstances(learner.key)
    assert known.peak_bytes is not None
    assert known == Circumstances(
        threads=torch.get_num_threads(),
        operations=("plain",),
        peak_bytes=known.peak_bytes,
        log="lane-0.log",
        device="cpu",
    )
    assert 10_000_000 < known.peak_bytes < 100_000_000_000
    losses = read_table(folder / "losses.parquet", LOSSES)
    assert losses["step"].to_pylist() == list(range(1, learner.num_steps + 1))
    assert read_table(folder / "results.parquet", RESULTS).num_rows == rows == 3 * 2 * 3
    assert read_table(folder / "predictions.parquet", PREDICTIONS).num_rows > 0
    assert sorted(path.name for path in (folder / "artifact").iterdir()) == ["colours", "names", "sums"]
    assert not any((folder_of(store) / name).exists() for name in UNFINISHED)


SOON_S = 60.0


class Gate:
    """A permit that waits until it is opened, so that a checkpoint stays half-written for so long."""

    def __init__(self) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._opened.wait(SOON_S)

    def open(self) -> None:
        self._opened.set()


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

    found = saved_in(tmp_path)
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


@pytest.mark.parametrize("then", ["check", "wait", "start"])
def test_what_goes_wrong_in_writing_is_raised_once_by_what_comes_next(tmp_path: Path, then: str) -> None:
    writer, arguments = CheckpointWriter(tmp_path), (2, {"w": torch.ones(1)}, {}, allow)
    writer.start(1, {"w": torch.ones(1)}, {}, refuse)
    assert writer._writing is not None
    writer._writing.exception(SOON_S)  # wait until it has ended

    with pytest.raises(LeaseLost):
        getattr(writer, then)(*(arguments if then == "start" else ()))

    assert load_latest(tmp_path) is None
    writer.start(3, {"w": torch.ones(1)}, {}, allow)
    writer.wait()
    assert saved_in(tmp_path).sequence == 3


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
    assert saved_in(tmp_path).sequence == 1
