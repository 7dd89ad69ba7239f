"""What a learner's step hands to the other workers of its team."""

import pytest

from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.modules import ALL_MODULES
from portal.training.pack_step import LearnerStep
from portal.training.worker_group import WorkerGroup
from tests.support.bases import make_run
from tests.support.packs import make_pack


@pytest.mark.parametrize(("modules", "count"), [(("q", "v"), 5), (ALL_MODULES, 15)])
def test_a_team_sums_a_tensor_per_module_and_factor_and_one_of_losses(
    bases: dict[str, Base], modules: tuple[str, ...], count: int
) -> None:
    adapter = AdapterConfig(modules=modules, rank=2, alpha=4)
    (learner,) = make_pack(bases, [make_run("lora", "target", adapter=adapter)], None).learners
    alone, team = WorkerGroup(), WorkerGroup()
    team.size = 2
    step = LearnerStep(learner, "target", [0, 1])

    assert step.received(alone) == []
    assert len(step.received(team)) == count
