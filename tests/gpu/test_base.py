"""A base, scores and steps on a GPU in bf16, against the CPU in fp32. They need PORTAL_TEST_GPU=1."""

import pytest
import torch

from portal.bases.base import Base, load_base
from portal.data.suites import load_suite
from portal.data.token_rows import RowTable, encode_example
from portal.evaluate.loglikelihood import score_rows, summarise
from sweeps.gpu_check.world import gradient
from tests.support.bases import make_run
from tests.support.packs import make_pack
from tests.support.scoring import token_differences

pytestmark = pytest.mark.gpu
NAMES = ("mini-qwen3-s", "mini-gemma3")


@pytest.fixture(scope="module", params=NAMES)
def on_cpu(request: pytest.FixtureRequest) -> Base:
    return load_base(request.param)


@pytest.fixture(scope="module")
def on_gpu(on_cpu: Base) -> Base:
    assert torch.cuda.is_available(), "torch sees no GPU here"
    return load_base(on_cpu.name, device="cuda")


def test_an_embedded_base_is_loaded_frozen_and_in_bf16(on_cpu: Base, on_gpu: Base) -> None:
    weights = dict(on_gpu.model.named_parameters())

    assert on_gpu.device.type == "cuda"
    assert on_gpu.sites == on_cpu.sites
    for name, weight in on_cpu.model.named_parameters():
        assert weights[name].dtype == torch.bfloat16
        assert not weights[name].requires_grad
        assert torch.equal(weights[name].cpu(), weight.bfloat16())


def test_scores_are_those_of_the_cpu_up_to_the_rounding_of_bf16(on_cpu: Base, on_gpu: Base) -> None:
    examples = load_suite("mini").examples("fact_qa", "test")[:100]
    table = RowTable(encode_example(each, "test", on_cpu.tokenizer, max_prompt=64) for each in examples)
    rows = table.rows("fact_qa", "test")

    ours, theirs = score_rows(on_gpu, rows), score_rows(on_cpu, rows)

    apart = token_differences(ours, theirs)
    assert apart.mean() < 0.05
    assert apart.max() < 0.5
    assert summarise(ours).acc == pytest.approx(summarise(theirs).acc, abs=0.05)


def test_a_step_has_the_gradient_of_the_cpu_up_to_the_rounding_of_bf16(on_cpu: Base, on_gpu: Base) -> None:
    runs = [make_run(method, on_cpu.name, seed=seed) for method in ("lora", "hypernet") for seed in (0, 1)]
    gradients, losses = [], []
    for base in (on_cpu, on_gpu):
        pack = make_pack({base.name: base}, runs, None)
        for learner, epoch in pack.due():
            pack.evaluate(learner, epoch)
        pack.step()
        pack.sync_metrics()
        assert not pack.failed
        losses.append(list(pack.losses.values()))
        gradients.append([gradient(learner) for learner in pack.learners])

    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    for ours, theirs in zip(gradients[1], gradients[0], strict=True):
        assert theirs.norm() > 0
        assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
        assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=0.05)
