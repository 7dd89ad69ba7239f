"""From the project's initial tensors and batches examples/one_file.py has the project's losses."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base, load_base
from portal.config import AdapterConfig, HypernetConfig
from portal.data.suites import load_suite
from portal.data.token_rows import RowTable, TokenRow, encode_examples
from portal.learners.base import Learner, Start, build_learner
from portal.storage.checkpoint import below
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_run

FILE = Path(__file__).parents[1] / "examples" / "one_file.py"
TASKS = ("counting", "fact_qa", "pronoun")
STEPS = 10
SOURCES, TARGET = ("mini-qwen3-xs", "mini-qwen3-s"), "mini-gemma3"


@pytest.fixture(scope="module")
def one_file() -> ModuleType:
    sys.path.insert(0, str(FILE.parent))
    try:
        import one_file
    finally:
        sys.path.remove(str(FILE.parent))
    return one_file


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {name: load_base(name) for name in (*SOURCES, TARGET)}


@pytest.fixture(scope="module")
def rows(bases: dict[str, Base]) -> dict[str, RowTable]:
    suite = load_suite("mini")
    pairs = [
        (example, split)
        for task in TASKS
        for split in ("train", "validation", "test")
        for example in suite.examples(task, split)[:12]
    ]
    return {
        name: RowTable(encode_examples(pairs, base.tokenizer, max_prompt=64)) for name, base in bases.items()
    }


def settings(one_file: ModuleType, method: str) -> dict[str, object]:
    shape = HypernetConfig(
        d_latent=one_file.D_LATENT, d_layer=one_file.D_LAYER, hidden=one_file.D_HIDDEN, d_core=one_file.D_CORE
    )
    adapter = AdapterConfig(
        modules=tuple(one_file.PATHS), rank=one_file.RANK, alpha=int(one_file.SCALING * one_file.RANK)
    )
    train = TrainConfig(
        epochs=8,
        lr=2e-3,
        lr_latent=1e-2,
        weight_decay=1.0,
        ema_floor=one_file.EMA_FLOOR,
        evaluate="last_epoch",
    )
    parts = {"adapter": adapter, "train": train, "data": {"tasks": TASKS, "suite": "mini"}}
    return parts if method == "lora" else parts | {"hypernet": shape}


def losses_of(learner: Learner, bases: dict[str, Base], rows: dict[str, RowTable]) -> list[float]:
    """The mean loss over tasks and bases of every step."""
    pack, losses = Pack(bases, rows, [learner]), []
    for _ in range(STEPS):
        pack.step()
        pack.sync_metrics()
        losses.append(pack.losses[learner.key])
    return losses


def batches_of(learner: Learner, base: str) -> Iterator[list[tuple[TokenRow, ...]]]:
    """The rows of all tasks at every step."""
    for step in range(STEPS):
        yield [learner.data.batch(base, task, step) for task in learner.tasks]


def loaded(converter: nn.Module, tensors: dict[str, Tensor], base: str) -> nn.Module:
    converter.load_state_dict(below(tensors, f"converter/{base}/"))
    return converter


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in tensors.items()}


def test_joint_training_and_a_port_have_the_projects_losses(
    one_file: ModuleType, bases: dict[str, Base], rows: dict[str, RowTable], tmp_path: Path
) -> None:
    run = make_run("source", *SOURCES, **settings(one_file, "source"))
    source = build_learner(run, bases, rows, start=None)
    tensors = copied(source.tensors())
    latents, core = nn.Parameter(tensors["task_latents"]), one_file.Core()
    core.load_state_dict(below(tensors, "core."))
    own = [one_file.Base(name) for name in SOURCES]
    converters = [
        loaded(one_file.Converter(base, port=False), tensors, name)
        for name, base in zip(SOURCES, own, strict=True)
    ]
    shared = nn.ModuleList([core, *converters]).parameters()
    optimiser = torch.optim.AdamW(
        [{"params": [latents], "lr": 1e-2}, {"params": shared}], lr=2e-3, weight_decay=1.0
    )
    emas = [one_file.LossEMA() for _ in SOURCES]

    theirs = [
        float(torch.cat(one_file.joint_step(latents, core, converters, emas, optimiser, own, batches)).mean())
        for batches in zip(*(batches_of(source, name) for name in SOURCES), strict=True)
    ]

    ours = losses_of(source, {name: bases[name] for name in SOURCES}, rows)
    assert theirs == pytest.approx(ours, rel=1e-5)
    assert ours[-1] < 0.9 * ours[0]

    source.save_artifact(tmp_path, RunRecord.of(run))
    port = build_learner(
        make_run("portal", TARGET, **settings(one_file, "portal")),
        bases,
        rows,
        start=Start(tmp_path / SOURCES[0]),
    )
    tensors, base = copied(port.tensors()), one_file.Base(TARGET)
    converter = loaded(one_file.Converter(base, port=True), tensors, TARGET)
    core.load_state_dict(source.core.state_dict())
    optimiser = torch.optim.AdamW(converter.parameters(), lr=2e-3, weight_decay=1.0)
    held, ema = source.latents.detach(), one_file.LossEMA()
    theirs = [
        float(
            one_file.port_step(
                held, core.requires_grad_(False), converter, ema, optimiser, base, batches
            ).mean()
        )
        for batches in batches_of(port, TARGET)
    ]

    ours = losses_of(port, {TARGET: bases[TARGET]}, rows)
    assert theirs == pytest.approx(ours, rel=1e-5)
    assert ours[-1] < 0.9 * ours[0]


def test_loras_have_the_projects_losses(
    one_file: ModuleType, bases: dict[str, Base], rows: dict[str, RowTable]
) -> None:
    learner = build_learner(make_run("lora", TARGET, **settings(one_file, "lora")), bases, rows, start=None)
    loras = [
        {
            group.module: (nn.Parameter(a[0].detach().clone()), nn.Parameter(b[0].detach().clone()))
            for group, (a, b) in learner.task_factors(task).items()
        }
        for task in learner.tasks
    ]
    parameters = [factor for lora in loras for pair in lora.values() for factor in pair]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1.0)
    base = one_file.Base(TARGET)

    theirs = [
        float(one_file.lora_step(loras, optimiser, base, batches).mean())
        for batches in batches_of(learner, TARGET)
    ]

    ours = losses_of(learner, {TARGET: bases[TARGET]}, rows)
    assert theirs == pytest.approx(ours, rel=1e-5)
    assert ours[-1] < 0.9 * ours[0]


def test_the_file_needs_nothing_of_the_project() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(FILE.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
        )
    }

    assert imported - set(sys.stdlib_module_names) == {"pyarrow", "torch", "transformers"}
