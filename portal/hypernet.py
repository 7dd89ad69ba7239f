"""Task latents, core decoder and converter: from a task's vector to the LoRA factors of every layer.

Shape letters: T tasks, L layers of a site group, r LoRA rank, c core width, i input width, o output width, H
trunk width. Parameter names are those of the artifact format (`core.l1.weight`, `core.A.q.weight`,
`alignment.input.q`).
"""

import math

import torch
from torch import Tensor, nn

from portal.bases.sites import SiteGroup
from portal.config import AdapterConfig, HypernetConfig
from portal.device import to_device

Factors = dict[SiteGroup, tuple[Tensor, Tensor]]
"""Per site group, for S adapter slots: A (S, L, r, d_in) and B (S, L, d_out, r), without alpha / r."""

_INIT_STD = 0.02


def init_latents(num_tasks: int, config: HypernetConfig, generator: torch.Generator) -> nn.Parameter:
    """Fresh task latents, (T, d_z), N(0, latent_std^2); the paper's deviation is 0.02."""
    return nn.Parameter(config.latent_std * torch.randn(num_tasks, config.d_latent, generator=generator))


class CoreDecoder(nn.Module):
    """The base-agnostic part: task latent and layer embedding in, canonical factors out.

    h = gelu(l2((1 + gamma) * gelu(l1([z ; e])) + beta)), (gamma, beta) = film(z); heads A and B per module.
    The B heads start at zero.
    """

    def __init__(self, config: HypernetConfig, adapter: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.rank, self.d_core = adapter.rank, config.d_core
        width = adapter.rank * config.d_core
        self.l1 = _linear(config.d_latent + config.d_layer, config.hidden, generator)
        self.l2 = _linear(config.hidden, config.hidden, generator)
        self.film = _zero_linear(config.d_latent, 2 * config.hidden)
        self.A = nn.ModuleDict(
            {module: _linear(config.hidden, width, generator) for module in adapter.modules}
        )
        self.B = nn.ModuleDict({module: _zero_linear(config.hidden, width) for module in adapter.modules})

    def trunk(self, z_TZ: Tensor, e_LE: Tensor) -> Tensor:
        """h of every task and layer, (T, L, H)."""
        num_tasks, num_layers = len(z_TZ), len(e_LE)
        z_TLZ = z_TZ[:, None].expand(-1, num_layers, -1)
        e_TLE = e_LE[None].expand(num_tasks, -1, -1)
        h_TLH = nn.functional.gelu(self.l1(torch.cat([z_TLZ, e_TLE], dim=-1)))
        gamma_TH, beta_TH = self.film(z_TZ).chunk(2, dim=-1)
        return nn.functional.gelu(self.l2((1 + gamma_TH[:, None]) * h_TLH + beta_TH[:, None]))

    def heads(self, module: str, h_TLH: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical factors of `module`: (T, L, r, c) and (T, L, c, r)."""
        shape = h_TLH.shape[:2]
        a_TLRC = self.A[module](h_TLH).view(*shape, self.rank, self.d_core)
        b_TLCR = self.B[module](h_TLH).view(*shape, self.d_core, self.rank)
        return a_TLRC, b_TLCR


class Converter(nn.Module):
    """The base-specific part, all that a port refits: layer embeddings, two projections a module."""

    def __init__(
        self,
        config: HypernetConfig,
        groups: tuple[SiteGroup, ...],
        *,
        num_layers: int,
        zero_output: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.layer_embeddings = nn.Embedding.from_pretrained(
            torch.randn(num_layers, config.d_layer, generator=generator), freeze=False
        )
        inputs = {group.input: group.d_in for group in groups}
        outputs = {group.output: group.d_out for group in groups}
        self.input = nn.ParameterDict(
            {
                name: _INIT_STD * torch.randn(config.d_core, width, generator=generator)
                for name, width in inputs.items()
            }
        )
        self.output = nn.ParameterDict(
            {
                name: torch.zeros(width, config.d_core)
                if zero_output
                else _INIT_STD * torch.randn(width, config.d_core, generator=generator)
                for name, width in outputs.items()
            }
        )

    def forward(self, core: CoreDecoder, z_TZ: Tensor) -> Factors:
        """Factors of all tasks and layers: A = A_hat P_in, B = P_out B_hat (docs/method.md)."""
        h_TLH = core.trunk(z_TZ, self.layer_embeddings.weight)
        factors: Factors = {}
        for group in self.groups:
            whole = len(group.layers) == h_TLH.shape[1]
            a_TLRC, b_TLCR = core.heads(
                group.head, h_TLH if whole else h_TLH.index_select(1, to_device(group.layers, h_TLH.device))
            )
            a_TLRI = a_TLRC @ self.input[group.input]
            b_TLOR = self.output[group.output] @ b_TLCR
            factors[group] = (a_TLRI, b_TLOR)
        return factors


def spread_layers(own_SE: Tensor, num_layers: int) -> Tensor:
    """S layers' embeddings spread over L at the same relative depth, on straight lines between neighbours."""
    last = len(own_SE) - 1
    place_L = torch.linspace(0, last, num_layers)
    below_L = place_L.long().clamp(max=max(last - 1, 0))
    share_L1 = (place_L - below_L)[:, None]
    return torch.lerp(own_SE[below_L], own_SE[(below_L + 1).clamp(max=last)], share_L1)


def core_num_params(config: HypernetConfig, adapter: AdapterConfig) -> int:
    """Parameters of the core decoder."""
    trunk = (config.d_latent + config.d_layer + 1) * config.hidden + (config.hidden + 1) * config.hidden
    film = (config.d_latent + 1) * 2 * config.hidden
    head = (config.hidden + 1) * adapter.rank * config.d_core
    return trunk + film + 2 * head * len(adapter.modules)


def converter_num_params(config: HypernetConfig, groups: tuple[SiteGroup, ...], num_layers: int) -> int:
    """Parameters of one base's converter."""
    inputs = {group.input: group.d_in for group in groups}
    outputs = {group.output: group.d_out for group in groups}
    return num_layers * config.d_layer + config.d_core * (sum(inputs.values()) + sum(outputs.values()))


def _linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """torch's default initialisation of a linear layer, drawn from `generator`."""
    linear = nn.utils.skip_init(nn.Linear, d_in, d_out)
    bound = 1 / math.sqrt(d_in)
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
    return linear


def _zero_linear(d_in: int, d_out: int) -> nn.Linear:
    linear = nn.utils.skip_init(nn.Linear, d_in, d_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
