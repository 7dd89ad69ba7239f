"""An artifact of a tiny base with random weights."""

from pathlib import Path

import torch

from portal.artifacts.artifact import save_artifact
from portal.bases.base import Base
from portal.bases.sites import group_sites
from portal.config import AdapterConfig, HypernetConfig
from portal.hypernet import Converter, CoreDecoder, Factors, init_latents
from tests.support.bases import TASKS

HYPERNET = HypernetConfig(d_latent=5, d_layer=3, hidden=6, d_core=4)


def write_artifact(folder: Path, base: Base, adapter: AdapterConfig) -> Factors:
    """An artifact with every weight random; returns the factors of its tasks."""
    generator = torch.Generator().manual_seed(0)
    latents = init_latents(len(TASKS), HYPERNET, generator)
    core = CoreDecoder(HYPERNET, adapter, generator)
    groups = group_sites(base.sites, adapter.modules)
    converter = Converter(
        HYPERNET, groups, num_layers=base.num_layers, zero_output=False, generator=generator
    )
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        factors = converter(core, latents)
    save_artifact(
        folder, base=base, tasks=TASKS, adapter=adapter, hypernet=HYPERNET, latents=latents, core=core,
        converter=converter,
    )  # fmt: skip
    return factors
