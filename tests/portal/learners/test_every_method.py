"""What holds of every method that trains: it starts as the frozen base, resumes, is in a pack as alone."""

from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from portal.config import AdapterConfig, RunConfig, TextConfig
from portal.device import torch_threads
from portal.methods import METHODS
from portal.modules import ALL_MODULES
from portal.text.encoder import find_encoder
from portal.train_config import TrainConfig
from tests.support.bases import TASKS, make_run
from tests.support.encoders import save_encoder
from tests.support.packs import Tiny, advance, assert_as_alone, assert_same_ends, broken_off, mixed_runs

TRAINED = [name for name, spec in METHODS.items() if spec.trains]
BEST = TrainConfig(epochs=3, lr=3e-2, keep="best_validation", test_scores="kept")


def bases_of(method: str) -> tuple[str, ...]:
    return {"source": ("small", "target"), "taught": ("small",)}.get(method, ("target",))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunConfig]:
    """Unlike runs: every method, with descriptions, tasks without a row, and the best epoch kept."""
    folder = save_encoder(tmp_path_factory.mktemp("encoder"))
    text = TextConfig(encoder=str(folder), encoder_sha256=find_encoder(str(folder)).sha256)
    described = {"descriptions": {task: (f"name the {task}", f"what {task}") for task in TASKS}}
    found = [
        *mixed_runs(),
        make_run("source", *bases_of("source")),
        make_run("source", *bases_of("source"), seed=1, data=described, text=text),
        make_run("taught", "small"),
        make_run("portal", "target", data={"calibrated": TASKS[:1]}, train=BEST),
        *(make_run(method, "target", train=BEST) for method in ("lora", "hypernet", "shared_lora")),
    ]
    assert {run.method for run in found} == {*TRAINED, "base"}
    return found


@pytest.mark.parametrize("name", ["small", "target"])
def test_an_untrained_adapter_is_the_identity(tiny: Tiny, name: str) -> None:
    methods = [method for method in TRAINED if method != "taught"]  # which starts with a trained core
    pack = tiny.pack(*(make_run(method, name) for method in ("base", *methods)))

    frozen, *found = [
        pack.evaluate(learner, 0).predictions["scores"].to_pylist() for learner in pack.learners
    ]

    assert len(frozen) > 0
    assert found == [frozen] * len(methods)
    assert not any(b.any() for learner in pack.learners for _, b in learner.factors(name).values())


def test_gradients_reach_every_parameter_by_the_second_step(tiny: Tiny) -> None:
    everything = AdapterConfig(modules=ALL_MODULES, rank=4, alpha=8)
    adapters = {method: {} if METHODS[method].parents else {"adapter": everything} for method in TRAINED}
    pack = tiny.pack(*(make_run(method, *bases_of(method), **own) for method, own in adapters.items()))
    advance(pack)
    seen: list[torch.Tensor] = []

    def capture(adamw: torch.optim.Optimizer, *_: object) -> None:
        seen.extend(parameter.grad.clone() for group in adamw.param_groups for parameter in group["params"])

    with register_optimizer_step_pre_hook(capture):
        advance(pack)

    optimisers = [optimiser for learner in pack.learners for optimiser in learner.optimisers]
    assert len(seen) == sum(len(optimiser.parameters) for optimiser in optimisers)
    assert all(gradient.any() for gradient in seen)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_in_a_pack_is_the_run_alone_to_the_last_bit(
    tiny: Tiny, runs: list[RunConfig], threads: int
) -> None:
    assert tiny.source is not None
    with torch_threads(threads):
        assert_as_alone(tiny.bases, tiny.source, runs)


@pytest.mark.slow
def test_runs_that_are_broken_off_after_every_evaluation_and_step_end_as_unbroken_ones_to_the_last_bit(
    tiny: Tiny, runs: list[RunConfig], tmp_path: Path
) -> None:
    expected = tiny.ended(*runs)

    found = broken_off(lambda: tiny.pack(*runs), tmp_path)

    assert_same_ends(found, expected)
    for ours, theirs in zip(found.pack.learners, expected.pack.learners, strict=True):
        assert ours.losses.points == theirs.losses.points
        assert ours.restore_kept() == theirs.restore_kept()
        torch.testing.assert_close(
            ours.artifact_tensors(TASKS), theirs.artifact_tensors(TASKS), rtol=0, atol=0
        )
