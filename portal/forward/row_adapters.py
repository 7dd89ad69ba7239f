"""`RowAdapters`: adapters of several slots on a frozen base, for forwards whose rows name slots in any order.

Rows of a slot are brought together for a pair of batched products, and what they give goes back to where the
rows are, however rows come and go. Not differentiable. Shape letters: N rows of a forward, K tokens of a row,
P parts of equally many rows of one slot each, M rows of all parts, A rows with an adapter, L layers, R rank,
I and O widths.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from portal.bases.base import Base
from portal.device import to_device
from portal.forward.adapter_hooks import with_aligned_rank
from portal.hypernet import Factors

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
