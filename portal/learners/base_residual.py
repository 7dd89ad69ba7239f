"""`BaseResiduals`: a control of residuals, whose part beside a latent is in the coordinates of its base.

Shape letters: S tasks that take equally many steps, L layers of a site group, q residual rank, i input width,
o output width.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from portal.artifacts.peft_adapter import save_task_adapters
from portal.artifacts.run_record import RunRecord
from portal.forward.adapter_hooks import concatenate_slots, select_slots
from portal.hypernet import Factors
from portal.learners.lora import fresh_loras
from portal.learners.taught import TaughtLatents


class BaseResiduals(TaughtLatents):
    """Beside each latent a LoRA of `residual_rank` in every layer, which no other base can take."""

    def fresh_residuals(self, tasks: Sequence[str]) -> list[nn.Parameter]:
        """A (S, L, q, i) and B (S, L, o, q) of every site group in turn."""
        assert self.run.seed is not None
        return fresh_loras(
            self.run.seed, tasks, self._converter.groups, self.train.residual_rank, self.device
        )

    @property
    def residual(self) -> None:
        """None is in core coordinates."""

    def factors(self, base: str) -> Factors:
        generated = self._converter(self._core, self.latents)
        own = concatenate_slots(
            [
                dict(zip(self._converter.groups, zip(pairs[::2], pairs[1::2], strict=True), strict=True))
                for pairs in (stack.parameters[1:] for stack in self.stacks)
            ]
        )
        return {
            group: (torch.cat([a, own[group][0]], dim=2), torch.cat([b, own[group][1]], dim=3))
            for group, (a, b) in generated.items()
        }

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write one PEFT adapter of rank r + q per task, in `folder/<task>`."""
        with torch.no_grad():
            factors = self.factors(self._base.name)
        own = {task: select_slots(factors, [slot]) for slot, task in enumerate(self.tasks)}
        adapter = self.adapter.widened(self.train.residual_rank)
        save_task_adapters(folder, own, base=self._base, adapter=adapter, record=record)
