"""`DescribedLatents`: new tasks by their descriptions alone, with the map that joint training has learnt."""

from collections.abc import Sequence

from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.learners.fixed import next_tasks
from portal.learners.new_tasks import NewTasks


class DescribedLatents(NewTasks):
    """Every task has the mean of the latents that its phrasings stand for; no row is read."""

    def _new_latents(self, artifact: Artifact) -> dict[str, Tensor]:
        latents = artifact.described_latents(self.run.data.descriptions)
        described = self._described(self.tasks)
        return {task: latents[other] for task, other in zip(self.tasks, described, strict=True)}

    def _described(self, tasks: Sequence[str]) -> Sequence[str]:
        """For every task the one whose description it has."""
        return tasks


class MismatchedDescriptions(DescribedLatents):
    """A control: every task has the description of the next one in the config's order, the last that of the
    first.
    """

    def _described(self, tasks: Sequence[str]) -> Sequence[str]:
        return next_tasks(tasks, self.run.method)
