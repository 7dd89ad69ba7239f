"""Worker groups of a few forked processes on one machine, and packs that they share."""

import copy
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from portal.bases.base import Base
from portal.config import RunConfig
from portal.learners.base import build_learner
from portal.training.pack import Pack
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_rows
from tests.support.packs import start_of


def outline(base: Base) -> Base:
    """The base without its weights."""
    return replace(base, model=copy.deepcopy(base.model).to("meta"))


def shared_pack(
    bases: dict[str, Base], runs: list[RunConfig], source: Path | None, group: WorkerGroup
) -> Pack:
    names = [ref.name for ref in runs[0].bases]
    rows = {name: make_rows(bases[name]) for name in names}
    held = {
        name: bases[name] if group.holds(place, len(names)) else outline(bases[name])
        for place, name in enumerate(names)
    }
    return Pack(
        held,
        rows,
        [build_learner(run, held, rows, start=start_of(run, source)) for run in runs],
        workers=group,
    )


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
