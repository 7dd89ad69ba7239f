"""`resolve_precisions`: the precision of every base of a study or a single run, `auto` resolved."""

from collections import defaultdict
from collections.abc import Collection

from portal.config import Precision, PrecisionChoice
from portal.storage.paths import Folder
from sweeps.store.kept_precisions import KeptPrecisions
from sweeps.store.run_store import RunStore


def resolve_precisions(
    choice: PrecisionChoice, bases: Collection[str], *, device: str | None = None, out: Folder | None = None
) -> dict[str, Precision]:
    """The precision of each base. `auto` is what `out` keeps, or else what suits `device` of this machine.

    Without a device that is the GPU, where there is one. Where `out` keeps nothing yet and has runs on a base
    in one precision, as of a study that did not ask for `auto` before, the base stays in that.
    """
    if choice != "auto":
        return dict.fromkeys(bases, choice)
    kept = {} if out is None else KeptPrecisions(out).read() or _of_runs(out)
    found = {base: kept[base] for base in bases if base in kept}
    return found | {base: _resolve(base, device) for base in bases if base not in kept}


def _of_runs(out: Folder) -> dict[str, Precision]:
    """The precision of each base on which all runs below `out` have it in one."""
    found: dict[str, set[Precision]] = defaultdict(set)
    for run in RunStore(out).begun():
        for ref in run.bases:
            found[ref.name].add(ref.precision)
    return {base: next(iter(own)) for base, own in found.items() if len(own) == 1}


def _resolve(base: str, device: str | None) -> Precision:
    import torch  # it takes seconds, which `sweep status` need not wait

    from portal.bases.base_config import hidden_width
    from portal.bases.precision import resolve_precision

    here = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return resolve_precision("auto", hidden_width(base), here)
