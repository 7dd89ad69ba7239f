"""Per-row adapters on a frozen base; output_head.py alone touches its modules, too.

A forward's rows come in slots: the first k rows use slot 0, the next k slot 1, and so on. Every adapted
linear adds B_s A_s x to its output for the rows of slot s, exactly and differentiably in A and B, by one pair
of batched products for all neighbouring slots that share modules, rank and number of rows.

Forwards that answer have rows come and go: there rows name their slots in any order, `RowAdapters` brings
those of a slot together, and what it gives goes back to where the rows are. That is not differentiable. Shape
letters: N rows of a forward, K tokens of a row, P parts of equally many rows of one slot each, M rows of all
parts, A rows with an adapter, S slots, L layers, R rank, I and O widths.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from portal.bases.base import Base
from portal.bases.sites import Site
from portal.device import to_device
from portal.hypernet import Factors

_ALIGNED_RANK = 8
"""bf16 operands of tensor cores start every 16 bytes."""


@dataclass(frozen=True)
class Segment:
    """Neighbouring slots with the same adapter shape and equally many rows.

    The factors' slot dimension is `num_slots`. Without `rows_per_slot` all slots of all segments share a
    forward's rows evenly.
    """

    num_slots: int
    factors: Factors
    scaling: float
    rows_per_slot: int | None = None


class AdapterHooks:
    """Forward hooks on a base's adapted linears; without active segments the base is untouched.

    `recomputed` are paths of layers whose activations are not kept for the backward but computed again there,
    which must then run while the segments are active.
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site], *, recomputed: Sequence[str] = ()) -> None:
        self._paths = {(site.module, site.layer): site.path for site in sites}
        weight = next(each for each in model.parameters() if each.is_floating_point())
        self._dtype = weight.dtype
        self._aligns_ranks = weight.device.type == "cuda" and weight.dtype == torch.bfloat16
        self._linears = {site.path: model.get_submodule(site.path) for site in sites}
        self._recomputed = [model.get_submodule(path) for path in recomputed]

    @contextmanager
    def active(self, segments: Sequence[Segment], *, num_rows: int | None = None) -> Iterator[None]:
        """Adapt every forward in the block; its rows are the segments' slots in order.

        `num_rows` are those of a forward, by which a layer that takes all tokens in one dimension divides
        them where segments say how many rows their slots have.
        """
        deltas = self._deltas(segments, num_rows)
        handles = []
        try:
            for path, parts in deltas.items():
                handles.append(self._linears[path].register_forward_hook(_Delta(parts)))
            with self._recomputing():
                yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        if not torch.is_grad_enabled():
            yield
            return
        patched = [vars(layer).get("forward") for layer in self._recomputed]  # of who places layers, too
        try:
            for layer in self._recomputed:
                layer.forward = partial(
                    checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
                )
            yield
        finally:
            for layer, forward in zip(self._recomputed, patched, strict=True):
                if forward is None:
                    vars(layer).pop("forward", None)
                else:
                    layer.forward = forward

    def _deltas(self, segments: Sequence[Segment], num_rows: int | None) -> dict[str, list["_Part"]]:
        total = sum(segment.num_slots for segment in segments)
        deltas: dict[str, list[_Part]] = {}
        start = 0  # in rows, or in slots where these share the rows evenly
        for segment in segments:
            rows = segment.rows_per_slot
            for group, (a_SLRI, b_SLOR) in segment.factors.items():
                # Cast whole, not a layer at a time; never rounded before it is scaled.
                factors = a_SLRI.to(self._dtype), (b_SLOR * segment.scaling).to(self._dtype)
                if self._aligns_ranks:
                    factors = with_aligned_rank(*factors)
                by_layer = (factor.unbind(1) for factor in factors)
                for layer, a_SRI, b_SOR in zip(group.layers, *by_layer, strict=True):
                    part = _Part(start, segment.num_slots, rows, total, num_rows, a_SRI, b_SOR)
                    deltas.setdefault(self._paths[group.module, layer], []).append(part)
            start += segment.num_slots * (rows or 1)
        return deltas


@dataclass(frozen=True)
class _Part:
    """The factors of one segment at one linear."""

    start: int
    num_slots: int
    rows_per_slot: int | None
    total_slots: int
    num_rows: int | None
    a_SRI: Tensor
    b_SOR: Tensor

    def span(self, length: int) -> tuple[int, int]:
        """The first place of the part and the one after its last, in a first dimension of `length`: rows, or
        the tokens of all rows one after another.
        """
        if self.rows_per_slot is not None:
            each = 1 if self.num_rows is None else length // self.num_rows
            return self.start * each, (self.start + self.num_slots * self.rows_per_slot) * each
        each = length // self.total_slots
        return self.start * each, (self.start + self.num_slots) * each

    def add(self, x_NTI: Tensor, y_NTO: Tensor) -> Tensor:
        """y + B A x for the part's own rows."""
        x_SKI = x_NTI.reshape(self.num_slots, -1, x_NTI.shape[-1])
        y_SKO = y_NTO.view(self.num_slots, -1, y_NTO.shape[-1])
        # A base may lie on several devices: each layer's factors go where its input is.
        a_SRI, b_SOR = (factor.to(x_SKI.device, non_blocking=True) for factor in (self.a_SRI, self.b_SOR))
        h_SKR = torch.bmm(x_SKI, a_SRI.transpose(1, 2))
        b_SRO = b_SOR.transpose(1, 2)
        if torch.is_grad_enabled():
            return torch.baddbmm(y_SKO, h_SKR, b_SRO).view(y_NTO.shape)
        y_SKO.baddbmm_(h_SKR, b_SRO)  # the output is the linear's own: no copy where no graph needs it
        return y_NTO


class _Delta:
    """Forward hook: the linear's output plus each slot's B A x."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts

    def __call__(self, linear: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x_NTI,) = args
        length = len(output)
        spans = [part.span(length) for part in self._parts]
        if spans == [(0, length)]:
            return self._parts[0].add(x_NTI, output)
        owners: list[tuple[_Part | None, int]] = []  # with their rows; None: these have no adapter here
        done = 0
        for part, (start, end) in zip(self._parts, spans, strict=True):
            owners += [(None, start - done), (part, end - start)]
            done = end
        owners = [(part, rows) for part, rows in [*owners, (None, length - done)] if rows]
        # Split, not sliced: the backward of a slice fills a tensor of zeros, for each of them.
        sizes = [rows for _, rows in owners]
        pieces = zip(owners, x_NTI.split(sizes), output.split(sizes), strict=True)
        return torch.cat([y if part is None else part.add(x, y) for (part, _), x, y in pieces])


def with_aligned_rank(a_SLRI: Tensor, b_SLOR: Tensor) -> tuple[Tensor, Tensor]:
    """The same update by factors whose rank is a multiple of eight: rows and columns of zeros follow.

    Products with another rank do not start where tensor cores want their operands.
    """
    missing = -a_SLRI.shape[2] % _ALIGNED_RANK
    if not missing:
        return a_SLRI, b_SLOR
    return nn.functional.pad(a_SLRI, (0, 0, 0, missing)), nn.functional.pad(b_SLOR, (0, missing))


@contextmanager
def adapted(base: Base, factors: Factors, scaling: float) -> Iterator[None]:
    """Add one task's update, `scaling` B A, to every forward of the base in the block.

    `factors` are those of one slot, as `Artifact.factors` gives them for one task; they are moved to the
    base's device.
    """
    placed = {group: (a.to(base.device), b.to(base.device)) for group, (a, b) in factors.items()}
    with AdapterHooks(base.model, base.sites).active([Segment(1, placed, scaling)]):
        yield


def select_slots(factors: Factors, slots: Sequence[int]) -> Factors:
    """The factors of the given slots, in that order; the factors themselves when that is all of them."""
    first = next(iter(factors.values()))[0]
    if list(slots) == list(range(len(first))):
        return factors
    index = to_device(slots, first.device)
    return {group: (a.index_select(0, index), b.index_select(0, index)) for group, (a, b) in factors.items()}


def concatenate_slots(parts: Sequence[Factors]) -> Factors:
    """Factors of the same groups and rank, joined along the slots."""
    if len(parts) == 1:
        return parts[0]
    return {
        group: (torch.cat([part[group][0] for part in parts]), torch.cat([part[group][1] for part in parts]))
        for group in parts[0]
    }


_MOST_PADDING = 1.5
"""Rows of all parts, over rows with an adapter, at most."""


class RowAdapters:
    """The factors of all slots, cast as the base is, where its linears are; without any, rows are bare."""

    def __init__(self, base: Base, factors: Factors, scaling: float) -> None:
        self._by_linear: list[tuple[nn.Module, Tensor, Tensor]] = []
        dtype = next(each.dtype for each in base.model.parameters() if each.is_floating_point())
        aligns = base.device.type == "cuda" and dtype == torch.bfloat16
        paths = {(site.module, site.layer): site.path for site in base.sites}
        for group, (a_SLRI, b_SLOR) in factors.items():
            scaled = b_SLOR * scaling  # never rounded before it is scaled
            for place, layer in enumerate(group.layers):
                linear = base.model.get_submodule(paths[group.module, layer])
                device = next(linear.parameters()).device
                pair = tuple(each[:, place : place + 1].to(device, dtype) for each in (a_SLRI, scaled))
                a_S1RI, b_S1OR = with_aligned_rank(*pair) if aligns else pair
                self._by_linear.append((linear, a_S1RI.squeeze(1), b_S1OR.squeeze(1)))

    @contextmanager
    def active(self, slots: Sequence[int | None]) -> Iterator[None]:
        """In the block forwards are of so many rows, in this order, each with the adapter of its slot."""
        parts = divide_rows(slots)
        handles = []
        try:
            if parts is not None:
                handles = [
                    linear.register_forward_hook(_Hook(a_SRI, b_SOR, parts))
                    for linear, a_SRI, b_SOR in self._by_linear
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()


@dataclass(frozen=True)
class Parts:
    """Parts of equally many rows of one slot each, among a forward's `num_rows`.

    `slots` are those of the parts. `gathered` are the rows of all parts; a part that lacks rows has others as
    well. `back` are the places of rows with an adapter among those, `adapted` these rows, None where all rows
    are. All three are None where the rows of the parts follow one another.
    """

    num_rows: int
    slots: tuple[int, ...]
    gathered: tuple[int, ...] | None = None
    back: tuple[int, ...] | None = None
    adapted: tuple[int, ...] | None = None
    _placed: dict[tuple[str, torch.device], Tensor] = field(default_factory=dict, compare=False)

    def placed(self, name: str, device: torch.device) -> Tensor:
        """One of the four as a tensor there, where it is put once."""
        if (name, device) not in self._placed:
            self._placed[name, device] = to_device(getattr(self, name), device)
        return self._placed[name, device]

    def of(self, factor_S: Tensor) -> Tensor:
        """The factor of every part, (P, ...); no copy where their slots follow one another."""
        first, last = self.slots[0], self.slots[-1]
        if self.slots == tuple(range(first, last + 1)):
            return factor_S[first : last + 1]
        return factor_S.index_select(0, self.placed("slots", factor_S.device))


def divide_rows(slots: Sequence[int | None]) -> Parts | None:
    """The parts of rows with these slots, as large as leaves little padding; None where no row has a slot."""
    rows_of: dict[int, list[int]] = {}
    for row, slot in enumerate(slots):
        if slot is not None:
            rows_of.setdefault(slot, []).append(row)
    if not rows_of:
        return None
    counts = [len(rows) for rows in rows_of.values()]
    size = _part_size(counts)
    own: list[int] = []
    gathered: list[int] = []
    places: dict[int, int] = {}
    for slot, rows in sorted(rows_of.items()):
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            places |= {row: len(gathered) + place for place, row in enumerate(part)}
            gathered += [*part, *part[:1] * (size - len(part))]
            own.append(slot)
    adapted = sorted(places)
    if gathered == list(range(len(slots))):
        return Parts(len(slots), tuple(own))
    back = tuple(places[row] for row in adapted)
    kept = None if len(adapted) == len(slots) else tuple(adapted)
    return Parts(len(slots), tuple(own), tuple(gathered), back, kept)


def _part_size(counts: Sequence[int]) -> int:
    """The most rows of a part with which all parts together are not much more than the rows."""
    most = _MOST_PADDING * sum(counts)
    by_count = Counter(counts)
    return next(
        size
        for size in range(max(counts), 0, -1)
        if sum(-(-count // size) * size * number for count, number in by_count.items()) <= most
    )


class _Hook:
    """Forward hook: the linear's output plus B A x of each row's slot, added in place."""

    def __init__(self, a_SRI: Tensor, b_SOR: Tensor, parts: Parts) -> None:
        self._a_SRI, self._b_SOR, self._parts = a_SRI, b_SOR, parts

    def __call__(self, linear: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,), parts = args, self._parts
        a_PIR, b_PRO = parts.of(self._a_SRI).transpose(1, 2), parts.of(self._b_SOR).transpose(1, 2)
        count = len(parts.slots)
        if parts.gathered is None:
            h_PKR = torch.bmm(x.reshape(count, -1, x.shape[-1]), a_PIR)
            output.view(count, -1, output.shape[-1]).baddbmm_(h_PKR, b_PRO)
            return output
        gathered_M, back_A = (parts.placed(name, output.device) for name in ("gathered", "back"))
        x_NKI = x.reshape(parts.num_rows, -1, x.shape[-1])
        x_PKI = x_NKI.index_select(0, gathered_M).view(count, -1, x.shape[-1])
        added_PKO = torch.bmm(torch.bmm(x_PKI, a_PIR), b_PRO)
        added_AKO = added_PKO.view(len(gathered_M), -1, output.shape[-1]).index_select(0, back_A)
        y_NKO = output.view(parts.num_rows, -1, output.shape[-1])
        if parts.adapted is None:
            y_NKO.add_(added_AKO)
        else:
            y_NKO.index_add_(0, parts.placed("adapted", output.device), added_AKO)
        return output
