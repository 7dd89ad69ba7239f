"""Whether adapters fit the layers of their bases: modules, ranks, heads of a core, losses, transfers."""

from collections.abc import Iterable, Mapping

from portal.bases.coverage import check_coverage, coverage_note
from portal.bases.layout import BaseLayout, base_layout, base_takes_branches
from portal.bases.sites import check_modules, check_rank, group_sites
from portal.config import RunConfig


def check_shapes(runs: Iterable[RunConfig], *, full_coverage: bool = False) -> None:
    """ValueError where an adapter does not fit its base, a core would have heads that nothing trains, a loss
    needs rows that a base cannot take, or a transfer does not fit its two bases.

    With `full_coverage` also where a layer has neither a module that was asked for nor what stands in for it.
    """
    distinct = {
        (run.method, run.bases, run.adapter, run.widest_rank, run.source_bases, _has_choice_loss(run)): run
        for run in runs
        if run.adapter is not None
    }
    layouts = _layouts(distinct.values())
    for run in distinct.values():
        assert run.adapter is not None
        for name, layout in [(ref.name, layouts[ref.name]) for ref in run.bases]:
            try:
                _check_base(run, name, layout)
            except ValueError as error:
                raise ValueError(f"base {name!r}: {error}") from None
            if full_coverage:
                check_coverage(name, layout, run.adapter.modules)
        _check_heads(run, layouts)
        if run.spec.is_transfer and run.source_bases is not None:
            # It loads peft, which few studies need so early.
            from portal.learners.transfer import check_transfer

            check_transfer(run, layouts[run.source_bases[0]].sites, layouts[run.bases[0].name].sites)


def coverage_notes(runs: Iterable[RunConfig]) -> list[str]:
    """What should be known of bases whose layers lack modules that the runs adapt, a sentence for each."""
    adapting = [run for run in runs if run.adapter is not None]
    layouts = _layouts(adapting)
    asked = {(ref.name, run.adapter.modules): None for run in adapting if run.adapter for ref in run.bases}
    notes = (coverage_note(name, layouts[name], modules) for name, modules in asked)
    return list(dict.fromkeys(note for note in notes if note is not None))


def _check_base(run: RunConfig, name: str, layout: BaseLayout) -> None:
    assert run.adapter is not None
    if not run.spec.parents:  # else what they adapt is asked for
        check_modules(layout.sites, run.adapter.modules)
    check_rank(layout.sites, run.adapter.modules, run.widest_rank)
    if _has_choice_loss(run) and not base_takes_branches(name):
        raise ValueError(
            "choice_loss needs all choices of a question in one row, which this base cannot keep apart: "
            "leave it 0"
        )


def _check_heads(run: RunConfig, layouts: Mapping[str, BaseLayout]) -> None:
    """ValueError for a core to train, or residuals, with heads that no base of the run uses."""
    assert run.adapter is not None
    if run.hypernet is None or run.train is None:
        return
    if run.spec.parents and not run.train.residual_rank:
        return  # the core is held as it is
    groups = {ref.name: group_sites(layouts[ref.name].sites, run.adapter.modules) for ref in run.bases}
    used = {group.head for own in groups.values() for group in own}
    if unused := [module for module in run.adapter.modules if module not in used]:
        had = dict.fromkeys(group.module for own in groups.values() for group in own)
        if run.spec.parents:
            raise ValueError(
                f"{run.describe()}: residuals for {', '.join(unused)} would never be trained, since the base "
                "has no layers of their own for them; leave residual_rank 0"
            )
        raise ValueError(
            f"{run.describe()}: the core's heads for {', '.join(unused)} would never be trained, since no "
            f"base of the run has layers of their own for them; ask for the modules {','.join(had)}"
        )


def _layouts(runs: Iterable[RunConfig]) -> dict[str, BaseLayout]:
    """By name those of the bases that the runs use; a transfer uses that of its LoRAs, too."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(ref.name for ref in run.bases)
        if run.spec.is_transfer:
            names |= dict.fromkeys(run.source_bases or ())
    return {name: base_layout(name) for name in names}


def _has_choice_loss(run: RunConfig) -> bool:
    return run.train is not None and run.train.choice_loss > 0
