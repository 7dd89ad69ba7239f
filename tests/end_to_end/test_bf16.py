"""Bases in bf16 on a CPU that has the instructions, all else in fp32: what stays exact, and what is rounded.

Tolerances are about twice what was measured with AVX512-BF16. Without such a CPU the tests are skipped.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from portal.artifacts.adapted_base import check_export, merge_task
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base, load_base
from portal.cli.app import main
from portal.config import AdapterConfig, RunConfig
from portal.data.suites import load_suite
from portal.data.token_rows import RowTable, encode_example
from portal.device import torch_threads
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.evaluate.tasks import score_adapter
from portal.forward.adapter_hooks import adapted
from portal.learners.base import build_learner
from portal.training.pack import Pack
from sweeps.store.run_store import RunStore
from sweeps.study.expand import load_study
from tests.support.bases import TASKS, make_base, make_rows, make_run, random_factors
from tests.support.counts import nightly
from tests.support.packs import (
    CHOICES,
    FinishedPack,
    assert_as_alone,
    assert_same_ends,
    assert_same_tensors,
    broken_off,
    make_pack,
    mixed_runs,
    run_to_end,
    save_source,
    without_times,
)
from tests.support.precision import copy_in_fp32, make_bf16_base, needs_bf16
from tests.support.scoring import NAMED_ROWS, random_rows, score_one_by_one, token_differences
from tests.support.studies import TINY

pytestmark = [needs_bf16, pytest.mark.slow]
SCORE_ATOL = 0.2
"""Nats of a choice's log-likelihood on random tiny bases, whose scores are around -40; measured: .09."""
TOKEN_MEAN, TOKEN_MOST = 0.08, 0.4
"""Nats per token on an embedded base, whose log-loss is about 14; measured: .04 and .17."""
GRADIENT_COSINE = 0.999
"""Between a step's gradient in bf16 and in fp32; measured: .9999."""
LOSS_RTOL = 3e-3
"""Of the first step's loss in bf16 beside that in fp32; measured: 8e-4."""


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_bf16_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "target": make_bf16_base("target", "gemma3", hidden=28, layers=3, seed=3),
    }


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_source(bases, tmp_path_factory.mktemp("source"))


@pytest.fixture(params=["gemma3", *nightly("qwen3", "llama")])
def any_base(request: pytest.FixtureRequest) -> Base:
    return make_bf16_base(request.param, request.param, hidden=64)


@pytest.mark.nightly
@pytest.mark.parametrize("threads", [1, 2])
def test_a_learner_in_a_pack_is_the_learner_alone_to_the_last_bit(
    bases: dict[str, Base], source: Path, threads: int
) -> None:
    with torch_threads(threads):
        assert_as_alone(bases, source, mixed_runs())


@pytest.mark.nightly
def test_a_resumed_pack_equals_an_uninterrupted_one_to_the_last_bit(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    unbroken = make_pack(bases, mixed_runs(), source)
    expected = FinishedPack(unbroken, run_to_end(unbroken))

    found = broken_off(lambda: make_pack(bases, mixed_runs(), source), tmp_path)

    assert_same_ends(found, expected)


def test_packed_scores_are_those_of_each_choice_alone(any_base: Base) -> None:
    rows = (*NAMED_ROWS, *random_rows(20, seed=0))
    whole = copy_in_fp32(any_base)

    for item in score_rows(any_base, rows):
        assert item.scores == pytest.approx(score_one_by_one(whole, item.row), abs=SCORE_ATOL)
        assert not item.is_tied


def test_recomputed_activations_give_the_same_bits(any_base: Base) -> None:
    ends = []
    for activations in ("keep", "recompute"):
        run, rows = make_run("hypernet", any_base.name), {any_base.name: make_rows(any_base)}
        learner = build_learner(run, {any_base.name: any_base}, rows)
        pack = Pack({any_base.name: any_base}, rows, [learner], activations=activations)
        ends.append((learner, run_to_end(pack)[run.key]))

    assert_same_tensors(ends[0][0], ends[1][0])
    assert without_times(ends[0][1]) == without_times(ends[1][1])


LEARNERS: dict[str, Callable[[str], RunConfig]] = {
    "lora": partial(make_run, "lora"),
    "shared LoRA": partial(make_run, "shared_lora"),
    "hypernet": partial(make_run, "hypernet"),
    "source": partial(make_run, "source"),
    "port": partial(make_run, "portal"),
    "port with choice losses and equal norms": partial(make_run, "portal", train=CHOICES),
    "taught": partial(make_run, "taught"),
}
"""A run of every kind of learner, on a base of that name."""
SAMPLE = ("source", "port", "taught")
"""Kinds that are tried at each commit."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Artifacts in fp32 of the embedded bases."""
    folders = {}
    for name in ("mini-qwen3-m", "mini-gemma3"):
        pack = make_pack({name: load_base(name)}, [make_run("source", name)], None)
        run_to_end(pack)
        folder = tmp_path_factory.mktemp(name)
        pack.learners[0].save_artifact(folder, RunRecord.of(pack.learners[0].run))
        folders[name] = folder / name
    return folders


@pytest.mark.parametrize("kind", [*SAMPLE, *nightly(*sorted({*LEARNERS} - {*SAMPLE}))])
@pytest.mark.parametrize("name", ["mini-gemma3", *nightly("mini-qwen3-m")])
def test_a_step_has_the_gradient_of_fp32_up_to_rounding(
    name: str, kind: str, sources: dict[str, Path]
) -> None:
    moments, losses = [], []
    for precision in ("default", "bf16"):
        base = load_base(name, precision=precision)
        pack = make_pack({name: base}, [LEARNERS[kind](name)], sources[name])
        (learner,) = pack.learners
        for step in range(2):
            for each, epoch in pack.due():
                pack.evaluate(each, epoch)
            pack.step()
            pack.sync_metrics()
            if step == 0:
                losses.append(pack.losses[learner.run.key])
        tensors = {key: tensor for key, tensor in learner.tensors().items() if key.endswith("exp_avg")}
        assert all(tensor.dtype == torch.float32 and tensor.any() for tensor in tensors.values())
        moments.append(torch.cat([tensor.flatten() for tensor in tensors.values()]))

    assert losses[1] == pytest.approx(losses[0], rel=LOSS_RTOL)
    assert torch.cosine_similarity(*moments, dim=0) > GRADIENT_COSINE


def test_scores_of_an_embedded_base_are_those_of_fp32_up_to_rounding() -> None:
    whole, rounded = load_base("mini-qwen3-m"), load_base("mini-qwen3-m", precision="bf16")
    examples = load_suite("mini").examples("fact_qa", "test")[:100]
    table = RowTable(encode_example(each, "test", whole.tokenizer, max_prompt=64) for each in examples)
    rows = table.rows("fact_qa", "test")

    ours, theirs = score_rows(rounded, rows), score_rows(whole, rows)

    apart = token_differences(ours, theirs)
    assert apart.mean() < TOKEN_MEAN
    assert apart.max() < TOKEN_MOST
    assert summarise(ours).ties == 0
    assert summarise(ours).acc == pytest.approx(summarise(theirs).acc, abs=0.03)


def test_peft_reads_an_adapter_onto_a_rounded_base_as_it_is_injected(tmp_path: Path) -> None:
    base = make_bf16_base("base", "qwen3", hidden=64)
    adapter = AdapterConfig(rank=4, alpha=8)
    factors = random_factors(base, adapter.modules, rank=4, slots=1, seed=0)
    save_peft_adapter(tmp_path, base=base, adapter=adapter, factors=factors, task=TASKS[0])
    rows = make_rows(base).rows(TASKS[0], "test")

    read = score_adapter(base, tmp_path, {TASKS[0]: rows})[TASKS[0]]
    with adapted(base, factors, adapter.scaling):
        injected = summarise(score_rows(base, rows))

    assert read.log_loss == pytest.approx(injected.log_loss, abs=SCORE_ATOL / 5)


def test_an_adapter_is_checked_and_merged_in_fp32_only(tmp_path: Path) -> None:
    base = make_bf16_base("base", "qwen3")
    factors = random_factors(base, ("q",), rank=4, slots=1, seed=0)
    refusal = "base 'base' is not in fp32, in which adapters are checked and merged: load it on a CPU"

    with pytest.raises(ValueError, match=refusal):
        check_export(tmp_path, base, factors, 1.0)
    with pytest.raises(ValueError, match=refusal):
        merge_task(base, factors, 1.0, tmp_path / "merged")


CROSS = "  cross_lora: {}\n  source:"


def test_a_study_in_bf16_runs_to_its_end_and_says_what_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "tiny.yaml", tmp_path / "out"
    text = TINY.replace("seeds: [0, 1]", "seeds: [0]\nprecision: bf16").replace("  source:", CROSS, 1)
    path.write_text(text)

    assert main(["sweep", "run", str(path), "--out", str(out), "--executor", "local"]) == 0
    assert main(["report", str(out)]) == 0
    study, store = load_study(path, out=out), RunStore(out)
    path.write_text(text.replace("precision: bf16", "precision: default"))
    assert {run.key for run in load_study(path).runs}.isdisjoint(study.by_key)
    (port,) = [run for run in study.runs if run.method == "portal"]
    capsys.readouterr()
    adapter = str(tmp_path / "adapter")
    command = ["export", str(store.run_folder(port.key) / "artifact"), "--task", "counting", "--check"]
    assert main([*command, "--merge", "--out", adapter]) == 0

    assert "checked through peft on mini-qwen3-s" in capsys.readouterr().out
    assert {ref.precision for run in study.runs for ref in run.bases} == {"bf16"}
    record = json.loads((store.run_folder(port.key) / "artifact" / "portal.json").read_text())
    assert record["lineage"]["base"]["precision"] == "bf16"
    facts = json.loads((out / "results" / "study.json").read_text())["facts"]
    assert facts["precision"] == {"mini-qwen3-xs": "bf16", "mini-qwen3-s": "bf16"}
    assert [path.name.endswith("-bf16") for path in (out / "cache" / "bases").iterdir()] == [True, True]


def test_a_base_in_bf16_scores_without_ties_where_rounded_logits_tie() -> None:
    base = make_base("base", "qwen3", hidden=96)
    rows = random_rows(60, seed=1)
    expected = [item.acc for item in score_rows(base, rows)]
    base.model.to(torch.bfloat16)

    found = score_rows(base, rows)

    assert not any(item.is_tied for item in found)
    assert sum(a == b for a, b in zip([item.acc for item in found], expected, strict=True)) >= 57
