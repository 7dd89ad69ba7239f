"""`ForwardRunner`: the forwards of a pack's step on its bases, as large as memory allows.

Memory is predicted (`max_tokens`). A forward that runs out of it all the same is taken again once what the
device holds in reserve is released, and halved where that is no remedy.
"""

import logging
from collections.abc import Mapping, Sequence

from portal.bases.base import Base
from portal.config import Activations
from portal.device import is_out_of_memory, release_memory
from portal.forward.adapter_hooks import AdapterHooks
from portal.forward.microbatch import MicroBatch, SlotRows
from portal.forward.microbatch_plan import (
    MAX_FORWARD_TOKENS,
    divide,
    launch_cost,
    plan_microbatches,
    smaller_limit,
)
from portal.training.pack_step import LearnerStep, run_forward

_log = logging.getLogger(__name__)


class ForwardRunner:
    """Runs rows through adapted bases. `max_tokens` are the padded tokens of one forward on each base."""

    def __init__(
        self, bases: Mapping[str, Base], *, max_tokens: Mapping[str, int], activations: Activations
    ) -> None:
        self.max_tokens = dict.fromkeys(bases, MAX_FORWARD_TOKENS) | dict(max_tokens)
        self._planned_tokens = dict(self.max_tokens)
        self._bases = bases
        self.hooks = {
            name: AdapterHooks(
                base.model, base.sites, recomputed=base.layers if activations == "recompute" else ()
            )
            for name, base in bases.items()
            if base.device.type != "meta"
        }

    def forget_limits(self) -> None:
        """Go back to the planned sizes: smaller forwards were no remedy."""
        self.max_tokens = dict(self._planned_tokens)

    def run(self, base: str, slots: Sequence[SlotRows], members: Sequence[LearnerStep]) -> None:
        """All slots through the base, in smaller forwards from the first one on that does not fit.

        Raises what is_out_of_memory knows when a single row does not fit.
        """
        costs = [launch_cost(self._bases[base], len(member.adapter.modules)) for member in members]
        together = self._bases[base].device.type != "cpu"
        waiting = plan_microbatches(slots, costs=costs, max_tokens=self.max_tokens[base], together=together)
        while waiting:
            forward = waiting[0]
            if self._fits(base, forward, members, last=False):
                waiting.pop(0)
                continue
            _log.warning("base %s: out of memory, the same forward once more", base)
            release_memory()
            if self._fits(base, forward, members, last=True):
                waiting.pop(0)
                continue
            self.max_tokens[base] = smaller_limit(forward)
            _log.warning("base %s: out of memory, %d tokens per forward now", base, self.max_tokens[base])
            waiting = [part for each in waiting for part in divide(each, self.max_tokens[base])]

    def _fits(self, base: str, forward: MicroBatch, members: Sequence[LearnerStep], *, last: bool) -> bool:
        """Run a forward; False, with nothing changed, when it runs out of memory.

        The last try raises what it met where a single row does not fit.
        """
        try:
            run_forward(self._bases[base], self.hooks[base], forward, members)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or (last and forward.num_present == 1):
                raise
            return False
        return True
