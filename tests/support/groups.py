"""Worker groups of a few forked processes on one machine, and packs that they share."""

import copy
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed

from portal.bases.base import Base
from portal.config import RunConfig
from portal.learners.base import build_learner
from portal.training.pack import Pack
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_rows
from tests.support.packs import Tiny, start_of


def outline(base: Base) -> Base:
    """The base without its weights."""
    return replace(base, model=copy.deepcopy(base.model).to("meta"))


def shared_pack(tiny: Tiny, runs: Sequence[RunConfig], group: WorkerGroup) -> Pack:
    """A pack of fresh learners on the bases that this worker holds; it has the others in outline."""
    names = [ref.name for ref in runs[0].bases]
    rows = {name: make_rows(tiny.bases[name]) for name in names}
    held = {
        name: tiny.bases[name] if group.holds(place, len(names)) else outline(tiny.bases[name])
        for place, name in enumerate(names)
    }
    learners = [build_learner(run, held, rows, start=start_of(run, tiny.source)) for run in runs]
    return Pack(held, rows, learners, workers=group)


def on_group(size: int, work: Callable[[WorkerGroup], Any]) -> list[Any]:
    """What `work` returns in each of so many processes."""
    meeting = tempfile.TemporaryDirectory()
    address = f"file://{meeting.name}/rendezvous"

    def member(rank: int, answer: Connection) -> None:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
        answer.send_bytes(pickle.dumps(work(WorkerGroup(rank, size))))
        distributed.destroy_process_group()

    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    children = [context.Process(target=member, args=(rank, pipes[rank][1])) for rank in range(size)]
    for child in children:
        child.start()
    try:
        answers = []
        for receive, _ in pipes:
            while not receive.poll(0.1):
                assert all(child.exitcode in (None, 0) for child in children), "a worker died; see its output"
            answers.append(pickle.loads(receive.recv_bytes()))
    except BaseException:
        for child in children:
            child.kill()
        raise
    finally:
        for child in children:
            child.join()
        meeting.cleanup()
    return answers
