"""Replicas that drifted apart are found by a bit and brought together again."""

from pathlib import Path

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.train_config import TrainConfig
from portal.training.replicas import align_replicas
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_run
from tests.support.groups import on_group, shared_pack
from tests.support.packs import run_to_end

Found = tuple[list[str], list[str], dict[str, dict[str, Tensor]]]


def test_a_learner_that_differs_by_a_bit_takes_the_leaders_state_and_no_other_is_touched(
    bases: dict[str, Base], source: Path
) -> None:
    runs = [
        make_run(method, "target", seed=seed, train=TrainConfig(epochs=1, lr=1e-2))
        for method, seed in (("portal", 0), ("lora", 0), ("lora", 1))
    ]

    def work(group: WorkerGroup) -> Found:
        pack = shared_pack(bases, runs, source, group)
        run_to_end(pack)
        before = [learner.key for learner in align_replicas(pack.learners, group)]
        if group.rank == 1:
            for learner in pack.learners[:2]:
                value = list(learner.tensors().values())[-1]
                value.view(-1)[0] = torch.nextafter(value.view(-1)[0], torch.tensor(9.0))
        unlike = [learner.key for learner in align_replicas(pack.learners, group)]
        return before, unlike, {learner.key: learner.tensors() for learner in pack.learners}

    (before, unlike, leader), (_, same, other) = on_group(2, work)

    assert before == []
    assert unlike == same == [runs[0].key, runs[1].key]
    for key, tensors in leader.items():
        assert all(torch.equal(other[key][name], value) for name, value in tensors.items())


def test_a_worker_alone_has_nothing_to_compare(bases: dict[str, Base], source: Path) -> None:
    pack = shared_pack(bases, [make_run("portal", "target")], source, WorkerGroup())

    assert align_replicas(pack.learners, WorkerGroup()) == []
