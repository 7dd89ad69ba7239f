"""A base, scores and steps on a GPU in bf16, against the CPU in fp32. They need PORTAL_TEST_GPU=1."""

import pytest
import torch

from portal.bases.base import load_base
from portal.data.suites import load_suite
from portal.data.token_rows import RowTable, encode_example
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.training.pack import Pack
from sweeps.gpu_check.world import gradient
from tests.support.bases import make_run
from tests.support.packs import make_pack
from tests.support.scoring import token_differences


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mini-qwen3-s", "mini-gemma3"])
def test_an_embedded_base_is_frozen_in_bf16_and_its_scores_and_gradients_are_the_cpus_up_to_rounding(
    name: str,
) -> None:
    on_cpu, on_gpu = load_base(name), load_base(name, device="cuda")
    weights = dict(on_gpu.model.named_parameters())
    assert on_gpu.device.type == "cuda"
    assert on_gpu.sites == on_cpu.sites
    for place, weight in on_cpu.model.named_parameters():
        assert weights[place].dtype == torch.bfloat16
        assert not weights[place].requires_grad
        assert torch.equal(weights[place].cpu(), weight.bfloat16())

    examples = load_suite("mini").examples("fact_qa", "test")[:100]
    table = RowTable(encode_example(each, "test", on_cpu.tokenizer, max_prompt=64) for each in examples)
    ours, theirs = (score_rows(base, table.rows("fact_qa", "test")) for base in (on_gpu, on_cpu))
    apart = token_differences(ours, theirs)
    assert apart.mean() < 0.05
    assert apart.max() < 0.5
    assert summarise(ours).acc == pytest.approx(summarise(theirs).acc, abs=0.05)

    runs = [make_run(method, name, seed=seed) for method in ("lora", "hypernet") for seed in (0, 1)]
    gpu, cpu = (stepped(make_pack({name: base}, runs, None)) for base in (on_gpu, on_cpu))
    assert [*gpu.losses.values()] == pytest.approx([*cpu.losses.values()], rel=0.02)
    for found, exact in zip(map(gradient, gpu.learners), map(gradient, cpu.learners), strict=True):
        assert exact.norm() > 0
        assert torch.cosine_similarity(found, exact, dim=0) > 0.99
        assert found.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)


def stepped(pack: Pack) -> Pack:
    for learner, epoch in pack.due():
        pack.evaluate(learner, epoch)
    pack.step()
    pack.sync_metrics()
    assert not pack.failed
    return pack
