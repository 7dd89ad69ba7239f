"""What a checkpoint sees to, beside being written, and when there is one."""

import logging
import shutil
import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from portal.training.pack import Pack
from portal.training.worker_group import WorkerGroup
from sweeps.store.run_store import pack_key
from sweeps.study.expand import Study
from sweeps.worker.build_learners import build_learners
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.pack_trainer import CommitGuard, PackTrainer
from tests.support.groups import on_group


def test_replicas_that_differ_are_brought_together_with_the_checkpoint_and_the_log_says_so(
    job: LaneJob, tiny_study: Study
) -> None:
    runs = [run for run in tiny_study.runs if run.method == "lora"]
    keys = tuple(run.key for run in runs)
    bases = tuple(ref.name for ref in runs[0].bases)
    pack = PackJob(pack_key(keys), 1, keys, (), bases)

    def work(group: WorkerGroup) -> tuple[list[str], dict[str, Tensor]]:
        messages: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("sweeps.worker.pack_trainer").addHandler(handler)
        learners = build_learners(job, runs, group)
        trainer = PackTrainer(job, pack, CommitGuard(), learners, group)
        if group.rank == 1:
            next(iter(learners[0].tensors().values())).add_(1.0)
        trainer.save()
        trainer.save()
        return messages, learners[0].tensors()

    (said, leader), (said_too, other) = on_group(2, work)

    assert said == said_too
    (message,) = said
    assert message.startswith(f"run {runs[0].key}, step ")
    assert "the workers' parameters differed; all have the first worker's now" in message
    assert all(torch.equal(other[name], value) for name, value in leader.items())


class Gate:
    """A guard that holds back each checkpoint until it is opened; `held` says that one is waiting."""

    def __init__(self) -> None:
        self.held, self.opened = threading.Event(), threading.Event()

    def check(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.held.set()
            assert self.opened.wait(60.0)


def new_trainer(job: LaneJob, study: Study, guard: CommitGuard) -> PackTrainer:
    """A trainer of the study's LoRAs, which start anew."""
    runs = [run for run in study.runs if run.method == "lora"]
    keys = tuple(run.key for run in runs)
    for key in keys:
        shutil.rmtree(job.run_store.run_folder(key))
    for run in runs:
        job.run_store.write_run(run)
    pack = PackJob(pack_key(keys), 1, keys, (), tuple(ref.name for ref in runs[0].bases))
    return PackTrainer(job, pack, guard, build_learners(job, runs, WorkerGroup()), WorkerGroup())


def test_steps_go_on_while_a_checkpoint_is_written_and_markers_wait_for_it(
    job: LaneJob, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    guard = CommitGuard()
    monkeypatch.setattr(guard, "check", gate.check)
    trainer = new_trainer(replace(job, checkpoint_s=1e-9), tiny_study, guard)
    keys = [run.key for run in tiny_study.runs if run.method == "lora"]
    step, done_at_step, held_steps = Pack.step, [], 0

    def counted(pack: Pack) -> int:
        nonlocal held_steps
        held_steps += gate.held.is_set() and not gate.opened.is_set()
        done_at_step.append(any(job.run_store.is_done(key) for key in keys))
        if held_steps:
            gate.opened.set()
        return step(pack)

    monkeypatch.setattr(Pack, "step", counted)
    first = threading.Event()
    save = PackTrainer.save

    def saved(trainer: PackTrainer, *, wait: bool = True) -> None:
        save(trainer, wait=wait)
        if not first.is_set():
            first.set()
            assert gate.held.wait(60.0)  # so that it is certain that a step meets a checkpoint half-written

    monkeypatch.setattr(PackTrainer, "save", saved)
    trainer.run()

    assert held_steps == 1
    assert not any(done_at_step[:2])
    assert all(job.run_store.is_done(key) for key in keys)


def test_between_two_checkpoints_lies_so_many_times_what_one_took(
    job: LaneJob, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = new_trainer(replace(job, checkpoint_s=None), tiny_study, CommitGuard())
    now = trainer._saved_at

    def is_due(after_s: float, *, took_s: float, evaluated: bool = False) -> bool:
        monkeypatch.setattr("time.monotonic", lambda: now + after_s)
        trainer._state.writer.seconds = took_s
        return trainer._checkpoint_is_due(evaluated=evaluated)

    assert [is_due(after, took_s=0.1) for after in (59.0, 61.0)] == [False, True]
    assert [is_due(after, took_s=0.1, evaluated=True) for after in (14.0, 16.0)] == [False, True]
    assert [is_due(after, took_s=10.0) for after in (199.0, 201.0)] == [False, True]
    assert [is_due(after, took_s=10.0, evaluated=True) for after in (199.0, 201.0)] == [False, True]
    trainer._job = replace(job, checkpoint_s=5.0)
    assert [is_due(after, took_s=10.0) for after in (4.0, 6.0)] == [False, True]
