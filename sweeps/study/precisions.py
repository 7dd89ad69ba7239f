"""`resolve_precisions`: the precision of every base of a study or a single run, `auto` resolved."""

from collections.abc import Iterable

from portal.bases.base import hidden_width
from portal.bases.precision import resolve_precision
from portal.config import Precision, PrecisionChoice
from portal.storage.paths import Folder
from sweeps.store.kept_precisions import KeptPrecisions


def resolve_precisions(
    choice: PrecisionChoice, bases: Iterable[str], *, device: str, out: Folder | None = None
) -> dict[str, Precision]:
    """The precision of each base. `auto` is what `out` keeps, or else what suits `device` of this machine."""
    if choice != "auto":
        return dict.fromkeys(bases, choice)
    kept = {} if out is None else KeptPrecisions(out).read()
    return {
        base: kept[base] if base in kept else resolve_precision(choice, hidden_width(base), device)
        for base in bases
    }
