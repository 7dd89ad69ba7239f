"""Methods that no code of the project names: a LoRA that trains on from another's, and a port of a port."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.learners.base import Start
from portal.learners.lora import LoraLearner
from portal.methods import LORA, METHODS, PORTAL, MethodSpec, register

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
SECOND_PORT = replace(
    PORTAL,
    name="second_port",
    label="port of a port",
    made_by="converter refitted from a port",
    parents=("portal",),
    order=90,
    mark=None,
)
"""Its parent has a parent: the runs of a study with it are of three stages."""


class WarmLora(LoraLearner):
    """Starts at its parent's factors."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None = None
    ) -> None:
        super().__init__(run, bases, rows)
        assert start is not None
        paths = {(site.module, site.layer): site.path for site in self.base.sites}
        for task in self.tasks:
            found = read_peft_factors(start.folder / task, self.device)
            for group, (a, b) in self.task_factors(task).items():
                for index, layer in enumerate(group.layers):
                    a.data[0, index].copy_(found[paths[group.module, layer]][0])
                    b.data[0, index].copy_(found[paths[group.module, layer]][1])


@contextmanager
def registered() -> Iterator[None]:
    """The methods are known in the block: this is all that adding them takes."""
    specs = (SPEC, SECOND_PORT)
    for spec in specs:
        register(spec)
    try:
        yield
    finally:
        for spec in specs:
            del METHODS[spec.name]
