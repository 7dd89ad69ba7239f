"""An artifact and an adapter of a tiny base with random weights, and edits of an artifact's files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portal.artifacts.artifact import Artifact, TrainedHypernet, save_artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import AdapterConfig, HypernetConfig
from portal.hypernet import Converter, CoreDecoder, Factors, init_latents
from tests.support.bases import TASKS, make_run, random_factors

HYPERNET = HypernetConfig(d_latent=5, d_layer=3, hidden=6, d_core=4)
METADATA = {"format": "portallib", "format_version": "1"}


def write_artifact(folder: Path, base: Base, adapter: AdapterConfig, *, spread: float = 1) -> Factors:
    """An artifact with every weight random; returns the factors of its tasks, `spread` times as far apart."""
    generator = torch.Generator().manual_seed(0)
    latents = spread * init_latents(len(TASKS), HYPERNET, generator)
    core = CoreDecoder(HYPERNET, adapter, generator)
    groups = group_sites(base.sites, adapter.modules)
    converter = Converter(
        HYPERNET, groups, num_layers=base.num_layers, zero_output=False, generator=generator
    )
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        factors = converter(core, latents)
    by_task = dict(zip(TASKS, latents.data, strict=True))
    trained = TrainedHypernet(by_task, adapter, HYPERNET, core, converter, calibrated=TASKS)
    run = make_run("hypernet", base.name, adapter=adapter, hypernet=HYPERNET)
    save_artifact(folder, base=base, trained=trained, record=RunRecord.of(run))
    return factors


def change_config(folder: Path, **changes: Any) -> None:
    """Edit keys of an artifact's config.json."""
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | changes))


def change_tensors(folder: Path, metadata: dict[str, str] = METADATA, **changes: torch.Tensor | None) -> None:
    """Replace or, by None, drop tensors of an artifact's weights."""
    tensors = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata=metadata)


def export_random(folder: Path, base: Base, adapter: AdapterConfig, *, seed: int = 0) -> Factors:
    """The PEFT adapter of task `sums` with random factors, which are returned."""
    factors = random_factors(base, adapter.modules, rank=adapter.rank, slots=1, seed=seed)
    save_peft_adapter(folder, base=base, adapter=adapter, factors=factors, task="sums")
    return factors


def refusal(folder: Path) -> str:
    """The one line with which the artifact is refused; it names the folder."""
    with pytest.raises(ValueError) as caught:
        Artifact.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)
