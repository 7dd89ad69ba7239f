"""Per-task LoRAs trained on one base, brought to another without training: Cross-LoRA and its controls.

cross_lora   through the singular vectors of both bases' weights (docs/method.md, "Baselines and controls")
copy_lora    the factors as they are, where widths are equal
random_lora  random factors whose updates have the norms of cross_lora's
zero_lora    updates of zero: what the adapters' path alone does to the scores

Shape letters: T tasks, L layers, r LoRA rank, R kept singular vectors, I input width, O output width;
lower-case s and t in names: source and target base.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.bases.family import base_sites
from portal.bases.precision import weights_dtype
from portal.bases.sites import Site, SiteGroup, adapted_sites, group_sites, linear_weight
from portal.config import BaseRef, RunConfig, TransferMode
from portal.frozen import content_key
from portal.hypernet import Factors
from portal.learners.base import Start, named_generator
from portal.storage.atomic import only_one, write_bytes_atomic
from portal.storage.paths import cache_folder

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class NormRatio:
    """||dW_t|| / ||dW_s|| of one adapted matrix, Frobenius norms; null where the source's update is zero."""

    task: str
    module: str
    layer: int
    source_layer: int
    value: float | None


@dataclass(frozen=True)
class Transferred:
    """Adapters of all tasks on the target, and how large their updates are beside the source's."""

    tasks: tuple[str, ...]
    factors: Factors
    ratios: tuple[NormRatio, ...]

    def mean_norm_ratio(self, task: str) -> float | None:
        """Over the task's matrices whose source update is not zero; None when there is none."""
        known = [ratio.value for ratio in self.ratios if ratio.task == task and ratio.value is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        """A value for `transfer.json`: one entry a matrix."""
        return {"norm_ratios": [vars(ratio) for ratio in self.ratios]}


def transfer_loras(run: RunConfig, target: Base, start: Start | None) -> Transferred:
    """The adapters of `run`, a method of this file's list, on `target`, on its device in fp32.

    `start` holds the LoRAs to carry over, one adapter per task; None for updates of zero. The source base is
    loaded where its singular vectors are not yet on disk. ValueError where the widths do not allow the
    method.
    """
    assert run.adapter is not None
    if start is None:
        return Transferred(run.data.tasks, _zeros(run, target), ())
    assert start.base is not None, "a transfer needs the base of its LoRAs"
    source_sites = base_sites(start.base.name)
    check_transfer(run, source_sites, target.sites)
    matrices = {matrix.site: matrix for matrix in _pair_sites(run, source_sites, target.sites)}
    loras = {task: read_peft_factors(start.folder / task, target.device) for task in run.data.tasks}
    carry = _method(run, target, start)
    ratios: list[NormRatio] = []
    pairs: dict[Site, list[Pair]] = {}
    for site, matrix in matrices.items():
        for task in run.data.tasks:
            original = loras[task][matrix.source.path]
            pair = carry(task, matrix, original)
            before = update_norm(*original)
            value = update_norm(*pair) / before if before > 0 else None
            ratios.append(NormRatio(task, site.module, site.layer, matrix.source.layer, value))
            pairs.setdefault(site, []).append(pair)
    by_place = {(site.module, site.layer): found for site, found in pairs.items()}
    groups = group_sites(tuple(matrices), run.adapter.modules)
    return Transferred(run.data.tasks, {g: _stack(g, by_place) for g in groups}, tuple(ratios))


def check_transfer(run: RunConfig, source_sites: tuple[Site, ...], target_sites: tuple[Site, ...]) -> None:
    """ValueError when the bases share none of the run's modules, or have other widths than it needs."""
    assert run.adapter is not None
    matrices = list(_pair_sites(run, source_sites, target_sites))
    if not matrices:
        raise ValueError(f"{run.describe()}: the bases share none of {', '.join(run.adapter.modules)}")
    copies = run.spec.carries == "factors"
    if not copies and run.transfer != "project":
        return
    for matrix in matrices:
        source, site = matrix.source, matrix.site
        if (source.d_in, source.d_out) != (site.d_in, site.d_out):
            wanting = run.method if copies else "transfer 'project'"
            raise ValueError(
                f"{run.describe()}: {wanting} needs equal widths, {site.module} of layer {site.layer} is "
                f"{source.d_out} x {source.d_in} on the source and {site.d_out} x {site.d_in} on the target"
            )


@dataclass(frozen=True)
class _Matrix:
    """A target matrix and the source matrix whose update it gets."""

    site: Site
    source: Site


def _pair_sites(
    run: RunConfig, source_sites: tuple[Site, ...], target_sites: tuple[Site, ...]
) -> Iterator[_Matrix]:
    assert run.adapter is not None
    modules = run.adapter.modules
    places = {(site.module, site.layer): site for site in adapted_sites(source_sites, modules)}
    num_source = 1 + max(site.layer for site in source_sites)
    num_target = 1 + max(site.layer for site in target_sites)
    for site in adapted_sites(target_sites, modules):
        layer = source_layer(site.layer, num_source=num_source, num_target=num_target)
        source = places.get((site.module, layer))
        if source is not None:
            yield _Matrix(site, source)


def _method(run: RunConfig, target: Base, start: Start) -> Callable[[str, _Matrix, Pair], Pair]:
    """The function that carries one task's factors of one matrix over."""
    if run.spec.carries == "factors":
        return lambda task, matrix, original: original
    mode, load, base, cache = run.transfer, start.load_base, start.base, start.cache
    assert mode is not None
    assert load is not None
    assert base is not None
    assert cache is not None
    on_gpu, own = target.device.type == "cuda", run.bases[0]
    source_bases = _BasisCache(cache / _basis_folder(base, on_gpu=on_gpu), lambda: load(base))
    target_bases = _BasisCache(cache / _basis_folder(own, on_gpu=on_gpu), lambda: target)

    def carry(task: str, matrix: _Matrix, original: Pair) -> Pair:
        source = source_bases.of(matrix.source, target.device)
        goal = target_bases.of(matrix.site, target.device)
        return transfer(*original, source=source, target=goal, mode=mode)

    if run.spec.carries == "update":
        return carry
    assert run.spec.carries == "norm", f"{run.method!r} is no transfer of this file"
    assert run.seed is not None
    generators = {task: named_generator(run.seed, f"random lora {task}") for task in run.data.tasks}

    def draw(task: str, matrix: _Matrix, original: Pair) -> Pair:
        return _random_pair(carry(task, matrix, original), generators[task])

    return draw


def _random_pair(like: Pair, generator: torch.Generator) -> Pair:
    """Gaussian factors of the same shapes whose product has the same norm."""
    a_RI, b_OR = (torch.randn(factor.shape, generator=generator).to(factor.device) for factor in like)
    scale = (update_norm(*like) / update_norm(a_RI, b_OR)) ** 0.5
    return scale * a_RI, scale * b_OR


def _zeros(run: RunConfig, target: Base) -> Factors:
    assert run.adapter is not None
    rank, slots, device = run.adapter.rank, len(run.data.tasks), target.device
    return {
        group: (
            torch.zeros(slots, len(group.layers), rank, group.d_in, device=device),
            torch.zeros(slots, len(group.layers), group.d_out, rank, device=device),
        )
        for group in group_sites(target.sites, run.adapter.modules)
    }


def _stack(group: SiteGroup, pairs: dict[tuple[str, int], list[Pair]]) -> Pair:
    """(T, L, r, d_in) and (T, L, d_out, r) of one group."""
    layers = [pairs[group.module, layer] for layer in group.layers]
    a, b = (
        torch.stack([torch.stack([pair[side] for pair in layer]) for layer in layers], dim=1)
        for side in (0, 1)
    )
    return a, b


def _basis_folder(base: BaseRef, *, on_gpu: bool) -> str:
    """The name of the folder of a base's singular vectors: rounded weights have others."""
    is_rounded = weights_dtype(base.precision, on_gpu=on_gpu) == torch.bfloat16
    return f"{base.revision[:16]}-r{RANK_LIMIT}{'-bf16' if is_rounded else ''}"


class _BasisCache:
    """Singular vectors of one base's matrices, on disk in a folder of their own."""

    def __init__(self, folder: Path, load: Callable[[], Base]) -> None:
        self._folder = folder
        self._load = load
        self._base: Base | None = None
        self._last: tuple[Site, Basis] | None = None

    def of(self, site: Site, device: torch.device) -> "Basis":
        """The basis of one matrix; the one asked for last is kept, since tasks ask in turn."""
        if self._last is None or self._last[0] != site:
            self._last = site, self._read_or_compute(site, device)
        return self._last[1]

    def _read_or_compute(self, site: Site, device: torch.device) -> "Basis":
        path = self._folder / f"{site.layer}.{site.module}.safetensors"
        if not path.is_file():
            with only_one(cache_folder() / "locks" / content_key(str(path.resolve()))):  # of this node
                if not path.is_file():  # else another lane has computed it meanwhile
                    self._compute(site, path)
        tensors = load_file(path)
        return Basis(tensors["u"].to(device), tensors["v"].to(device))

    def _compute(self, site: Site, path: Path) -> None:
        self._base = self._base or self._load()
        basis = weight_basis(linear_weight(self._base.model.get_submodule(site.path)))
        write_bytes_atomic(path, save({"u": basis.u_OR.cpu(), "v": basis.v_IR.cpu()}))


RANK_LIMIT = 320
"""Singular vectors kept of a matrix at most."""


@dataclass(frozen=True)
class Basis:
    """Leading singular vectors of one weight matrix: `u_OR` of its outputs, `v_IR` of its inputs, fp32."""

    u_OR: Tensor
    v_IR: Tensor

    @property
    def rank(self) -> int:
        return self.u_OR.shape[1]


def weight_basis(weight_OI: Tensor) -> Basis:
    """The leading RANK_LIMIT singular vectors of a weight, fp32, by falling singular value.

    Signs are fixed, since an SVD leaves them open and the transfer depends on them: the entry of largest
    magnitude in each u is positive, and v is flipped with it.
    """
    u_OK, _, v_KI = torch.linalg.svd(weight_OI.float(), full_matrices=False)
    u_OR, v_IR = u_OK[:, :RANK_LIMIT], v_KI[:RANK_LIMIT].T
    largest_R = u_OR.abs().argmax(0)
    sign_R = torch.where(u_OR.gather(0, largest_R[None])[0] < 0, -1.0, 1.0)
    return Basis((u_OR * sign_R).contiguous(), (v_IR * sign_R).contiguous())


def transfer(
    a_RI: Tensor, b_OR: Tensor, *, source: Basis, target: Basis, mode: TransferMode
) -> tuple[Tensor, Tensor]:
    """LoRA factors (r, I_t) and (O_t, r) on the target, of factors trained on the source.

    `coordinate`: B_t = U_t (U_s^T B_s), A_t = (A_s V_s) V_t^T, for any widths; `project`: B_t = U_t U_t^T
    B_s, A_t = A_s V_t V_t^T, ValueError unless the widths are equal. Both keep min(R_s, R_t) vectors.
    """
    kept = min(source.rank, target.rank)
    u_t, v_t = target.u_OR[:, :kept], target.v_IR[:, :kept]
    if mode == "project":
        if (a_RI.shape[1], b_OR.shape[0]) != (len(v_t), len(u_t)):
            raise ValueError(
                f"mode 'project' needs equal widths, got {b_OR.shape[0]} x {a_RI.shape[1]} on the source and "
                f"{len(u_t)} x {len(v_t)} on the target; use mode 'coordinate'"
            )
        return a_RI @ v_t @ v_t.T, u_t @ (u_t.T @ b_OR)
    u_s, v_s = source.u_OR[:, :kept], source.v_IR[:, :kept]
    return a_RI @ v_s @ v_t.T, u_t @ (u_s.T @ b_OR)


def source_layer(layer: int, *, num_source: int, num_target: int) -> int:
    """The source layer for a target layer: the same where the depths agree, else at the same relative depth.

    l_s = round(l_t (L_s - 1) / (L_t - 1)); a target of one layer takes the first.
    """
    if num_source == num_target:
        return layer
    return round(layer * (num_source - 1) / max(1, num_target - 1))


def update_norm(a_RI: Tensor, b_OR: Tensor) -> float:
    """Frobenius norm of B A, without forming it: the root of sum((B^T B) * (A A^T))."""
    return ((b_OR.T @ b_OR) * (a_RI @ a_RI.T)).sum().clamp(min=0).sqrt().item()
