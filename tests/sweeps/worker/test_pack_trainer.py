"""What a checkpoint sees to, beside being written."""

import logging

import torch
from torch import Tensor

from portal.training.worker_group import WorkerGroup
from sweeps.store.pack_store import pack_key
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
