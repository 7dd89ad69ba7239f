"""Packs of unlike learners on tiny bases, and how to run them to their end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig, RunConfig, TrainConfig
from portal.learners.base import Start
from portal.learners.factory import build_learner
from portal.training.pack import Pack
from tests.support.bases import make_rows, make_run

CHOICES = TrainConfig(epochs=2, lr=3e-3, choice_loss=2.0, task_gradients="norm_equalized", min_steps=8)
WIDE = AdapterConfig(modules=tuple(MODULE_PATHS), rank=6, alpha=12)


@dataclass(frozen=True)
class FinishedPack:
    """A pack whose runs are at their end, and their result rows by run key."""

    pack: Pack
    results: dict[str, list[dict[str, object]]]


def make_pack(bases: dict[str, Base], runs: list[RunConfig], source: Path | None) -> Pack:
    names = sorted({ref.name for run in runs for ref in run.bases})
    rows = {name: make_rows(bases[name]) for name in names}
    learners = [build_learner(run, bases, rows, start=start_of(run, source)) for run in runs]
    return Pack({name: bases[name] for name in names}, rows, learners)


def start_of(run: RunConfig, source: Path | None) -> Start | None:
    """What the run starts from: the artifact in `source`, for methods that have a parent."""
    return Start(source) if source is not None and run.spec.parents else None


def run_to_end(
    pack: Pack, each_step: Callable[[], None] = lambda: None
) -> dict[str, list[dict[str, object]]]:
    """Result rows by run key."""
    results: dict[str, list[dict[str, object]]] = {learner.run.key: [] for learner in pack.learners}
    while pack.active:
        for learner, epoch in pack.due():
            results[learner.run.key].extend(pack.evaluate(learner, epoch).results)
        if any(learner.step < learner.num_steps for learner in pack.active):
            pack.step()
            each_step()
    return results


def mixed_runs() -> list[RunConfig]:
    """Unlike learners: methods, ranks, modules, batch sizes, lengths."""
    return [
        make_run("portal", "target"),
        make_run("lora", "target", adapter=WIDE, train=TrainConfig(epochs=1, lr=1e-2, batch_size=3)),
        make_run("hypernet", "target", seed=1, data={"size": 5}),
        make_run("portal", "target", seed=2, train=TrainConfig(epochs=3, lr=3e-3, schedule="linear")),
        make_run("portal", "target", seed=3, train=CHOICES),
        make_run("lora", "target", seed=1, train=TrainConfig(epochs=1, engine="peft", rounds_per_epoch=5)),
        make_run("base", "target"),
    ]


def refuse_forwards(base: Base, *, above: int, in_backward: bool) -> Callable[[], None]:
    """Make every forward of more rows x positions run out of memory; returns what ends that."""

    def refuse(model: torch.nn.Module, args: tuple[object, ...], kwargs: dict[str, torch.Tensor]) -> None:
        if kwargs["input_ids"].numel() > above:
            raise torch.OutOfMemoryError("no room")

    def refuse_later(layer: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        def fail(gradient: torch.Tensor) -> None:
            raise torch.OutOfMemoryError("no room")

        if output.shape[:2].numel() > above and output.requires_grad:
            output.register_hook(fail)

    if in_backward:
        layer = base.model.get_submodule(base.layer_path)[1].mlp
        return layer.register_forward_hook(refuse_later).remove
    return base.model.register_forward_pre_hook(refuse, with_kwargs=True).remove
