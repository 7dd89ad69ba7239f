"""A method that no code of the project names: a per-task LoRA that trains on from another run's."""

from collections.abc import Iterator
from contextlib import contextmanager

from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.learners.base import Start
from portal.learners.lora import LoraLearner
from portal.methods import LORA, METHODS, MethodSpec, register

SPEC = MethodSpec(
    name="warm_lora",
    label="warm LoRA",
    learner="tests.support.toy_method:WarmLora",
    made_by="trained on from the LoRA of another run",
    parts=LORA.parts,
    settings=LORA.settings - {"adapter"} | {"source"},
    parents=("lora",),
    artifact="adapters",
    recipe="lora",
    per_task=True,
    order=80,
)


class WarmLora(LoraLearner):
    """Starts at its parent's factors."""

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "WarmLora":
        learner = cls(run, bases, rows)
        assert start is not None
        paths = {(site.module, site.layer): site.path for site in learner._base.sites}
        for task in learner.tasks:
            found = read_peft_factors(start.folder / task, learner.device)
            for group, (a, b) in learner.task_factors(task).items():
                for index, layer in enumerate(group.layers):
                    a.data[0, index].copy_(found[paths[group.module, layer]][0])
                    b.data[0, index].copy_(found[paths[group.module, layer]][1])
        return learner


@contextmanager
def registered() -> Iterator[None]:
    """The method is known in the block: this is all that adding it takes."""
    register(SPEC)
    try:
        yield
    finally:
        del METHODS[SPEC.name]
