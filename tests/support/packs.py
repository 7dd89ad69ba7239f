"""Packs of unlike learners on tiny bases, and how to run them to their end."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig, RunConfig
from portal.learners.base import Learner, Start, build_learner
from portal.storage.checkpoint import load_latest, save_checkpoint
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_rows, make_run

CHOICES = TrainConfig(epochs=2, lr=3e-3, choice_loss=2.0, task_gradients="norm_equalized", min_steps=8)
WIDE = AdapterConfig(modules=tuple(MODULE_PATHS), rank=6, alpha=12)


Rows = dict[str, list[dict[str, object]]]
"""Result rows by run key."""


@dataclass(frozen=True)
class FinishedPack:
    """A pack whose runs are at their end, and their result rows by run key."""

    pack: Pack
    results: Rows

    @property
    def learner(self) -> Learner:
        """Of a pack of one run."""
        (learner,) = self.pack.learners
        return learner

    @property
    def rows(self) -> list[dict[str, object]]:
        """Of a pack of one run."""
        return self.results[self.learner.run.key]


@dataclass(frozen=True)
class Tiny:
    """Tiny bases by name, and the artifact that runs with a parent start from."""

    bases: dict[str, Base]
    source: Path | None = None

    def pack(self, *runs: RunConfig, counts: Mapping[str, int] | None = None) -> Pack:
        return make_pack(self.bases, list(runs), self.source, counts=counts)

    def learner(self, run: RunConfig) -> Learner:
        """A fresh one."""
        return build_learner(
            run,
            self.bases,
            {ref.name: make_rows(self.bases[ref.name]) for ref in run.bases},
            start=start_of(run, self.source),
        )

    def ended(self, *runs: RunConfig, counts: Mapping[str, int] | None = None) -> FinishedPack:
        pack = self.pack(*runs, counts=counts)
        return FinishedPack(pack, run_to_end(pack))

    def saved(self, run: RunConfig, folder: Path) -> Artifact:
        """The portable artifact that the run leaves in the folder at its end."""
        self.ended(run).learner.save_artifact(folder, RunRecord.of(run))
        return Artifact.load(folder / run.bases[0].name if run.method == "source" else folder)


def make_pack(
    bases: dict[str, Base],
    runs: list[RunConfig],
    source: Path | None,
    *,
    counts: Mapping[str, int] | None = None,
) -> Pack:
    """A pack of fresh learners; `counts` are numbers of rows where a task has others than all."""
    names = sorted({ref.name for run in runs for ref in run.bases})
    rows = {name: make_rows(bases[name], counts=counts) for name in names}
    learners = [build_learner(run, bases, rows, start=start_of(run, source)) for run in runs]
    return Pack({name: bases[name] for name in names}, rows, learners)


def start_of(run: RunConfig, source: Path | None) -> Start | None:
    """What the run starts from: the artifact in `source`, for methods that have a parent."""
    return Start(source) if source is not None and run.spec.parents else None


def save_source(bases: dict[str, Base], folder: Path) -> Path:
    """Train a source on base `small`; where in `folder` its artifact lies."""
    return save_trained(bases, make_run("source", "small"), None, folder) / "small"


def save_trained(bases: dict[str, Base], run: RunConfig, source: Path | None, folder: Path) -> Path:
    """Train the run and write into `folder` what it leaves there."""
    pack = make_pack(bases, [run], source)
    run_to_end(pack)
    pack.learners[0].save_artifact(folder, RunRecord.of(run))
    return folder


def advance(pack: Pack, steps: int = 1) -> list[dict[str, float]]:
    """Take so many steps, with the evaluations that are due before them; the losses of each."""
    losses = []
    for _ in range(steps):
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        pack.step()
        pack.sync_metrics()
        losses.append(pack.losses)
    return losses


def run_to_end(pack: Pack, each_step: Callable[[], None] = lambda: None) -> Rows:
    """Take all steps and evaluations that are left."""
    results: Rows = {learner.run.key: [] for learner in pack.learners}
    while pack.active:
        for learner, epoch in pack.due():
            results[learner.run.key].extend(pack.evaluate(learner, epoch).results)
        if any(learner.step < learner.num_steps for learner in pack.active):
            pack.step()
            each_step()
    return results


def broken_off(make: Callable[[], Pack], folder: Path) -> FinishedPack:
    """A pack at its end that was saved in `folder` after every evaluation and step, and was made anew."""
    pack, results = make(), defaultdict(list)
    for number in count():
        if not pack.active:
            return FinishedPack(pack, results)
        due = pack.due()
        for learner, epoch in {learner: (learner, epoch) for learner, epoch in reversed(due)}.values():
            results[learner.run.key].extend(pack.evaluate(learner, epoch).results)
        if not due:
            pack.step()
            pack.sync_metrics()
        for learner in pack.learners:
            save_checkpoint(folder / learner.run.key, number, *learner.state())
        pack = make()
        for learner in pack.learners:
            checkpoint = load_latest(folder / learner.run.key)
            assert checkpoint is not None
            learner.restore(checkpoint.tensors, checkpoint.meta)
    raise AssertionError("a count has no end")


def assert_as_alone(bases: dict[str, Base], source: Path, runs: list[RunConfig]) -> None:
    """Each of the runs has the rows and tensors in their pack that it has by itself, to the last bit."""
    together = make_pack(bases, runs, source)
    packed = run_to_end(together)

    for position, run in enumerate(runs):
        alone = make_pack(bases, [run], source)
        single = run_to_end(alone)[run.key]
        assert without_times(packed[run.key]) == without_times(single)
        assert_same_tensors(together.learners[position], alone.learners[0])


def assert_same_ends(ours: FinishedPack, theirs: FinishedPack) -> None:
    """The two packs of the same runs ended in the same rows and tensors, to the last bit."""
    for mine, other in zip(ours.pack.learners, theirs.pack.learners, strict=True):
        assert_same_tensors(mine, other)
        assert without_times(ours.results[mine.run.key]) == without_times(theirs.results[mine.run.key])


def assert_others_go_on(bases: dict[str, Base], source: Path) -> None:
    """A learner that becomes NaN after its second step leaves; two others end as alone, to the last bit."""
    runs = [make_run("portal", "target"), make_run("portal", "target", seed=1), make_run("lora", "target")]
    pack = make_pack(bases, runs, source)
    bad = pack.learners[1]
    steps = 0

    def poison() -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            bad.converters["target"].input["q"].data.fill_(float("nan"))

    results = run_to_end(pack, poison)

    assert list(pack.failed) == [bad.run.key]
    cause = pack.failed[bad.run.key]
    assert "step 2" in cause
    assert "task 'colours'" in cause
    assert "'target'" in cause
    assert bad.step == 2
    for position in (0, 2):
        run, alone = runs[position], make_pack(bases, [runs[position]], source)
        assert pack.learners[position].done
        assert without_times(results[run.key]) == without_times(run_to_end(alone)[run.key])
        assert_same_tensors(pack.learners[position], alone.learners[0])


def without_times(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "wall_s"} for row in rows]


def assert_same_tensors(ours: Learner, theirs: Learner) -> None:
    """To the last bit; an average of losses that has none yet is NaN."""
    torch.testing.assert_close(ours.tensors(), theirs.tensors(), rtol=0, atol=0, equal_nan=True)


def mixed_runs() -> list[RunConfig]:
    """Unlike learners: methods, ranks, modules, batch sizes, lengths."""
    return [
        make_run("portal", "target"),
        make_run("lora", "target", adapter=WIDE, train=TrainConfig(epochs=1, lr=1e-2, batch_size=3)),
        make_run("hypernet", "target", seed=1, data={"size": 5}),
        make_run("portal", "target", seed=2, train=TrainConfig(epochs=3, lr=3e-3, schedule="linear")),
        make_run("portal", "target", seed=3, train=CHOICES),
        make_run("shared_lora", "target", seed=1, train=TrainConfig(epochs=1, rounds_per_epoch=5)),
        make_run("base", "target"),
    ]


@contextmanager
def refused_forwards(base: Base, *, above: int, in_backward: bool = False) -> Iterator[Callable[[], None]]:
    """Within the block every forward of more rows x positions runs out of memory; gives what ends that."""

    def refuse(model: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        if kwargs["input_ids"].numel() > above:
            raise torch.OutOfMemoryError("no room")

    def refuse_later(layer: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        def fail(gradient: torch.Tensor) -> None:
            raise torch.OutOfMemoryError("no room")

        if output.shape[:2].numel() > above and output.requires_grad:
            output.register_hook(fail)

    if in_backward:
        hook = base.model.get_submodule(base.layer_path)[1].mlp.register_forward_hook(refuse_later)
    else:
        hook = base.model.register_forward_pre_hook(refuse, with_kwargs=True)
    with hook:
        yield hook.remove
