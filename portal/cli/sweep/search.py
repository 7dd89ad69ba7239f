"""`portal sweep search`: settings of a method, searched on the validation slice."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import completion
from portal.cli.completion import one_of
from portal.cli.exit_codes import FAILED
from portal.cli.options import (
    AlertsOption,
    BudgetOption,
    BudgetPriceOption,
    ExecutorOption,
    GpusOption,
    JsonOption,
    check_at_least_one,
    chosen_executor,
)
from portal.cli.output import print_table, progress_console, warn
from portal.cli.sweep.run import chosen_alerts, threads_for

if TYPE_CHECKING:
    from portal.search_record import SearchRecord
    from sweeps.search.run_search import SearchPlan, SearchResult

SHOWN = 10
"""Trials that are printed, the best first."""


def search(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SEARCH",
            help="A shipped search, or the path of a study file with a `search` section.",
            autocompletion=one_of(completion.searches),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output folder; no URL. Default: portal-NAME, by the study's name."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Number of trials in all, instead of the file's.")
    ] = None,
    executor: ExecutorOption = "auto",
    gpus: GpusOption = 0,
    alert: AlertsOption = None,
    price: BudgetPriceOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a method's settings with Optuna, and write the best as a study file.

    The same command again goes on with the search. Exit code 3 unless all trials came to their end.
    """
    from portal.storage.object_store import is_url
    from sweeps.search.run_search import SearchPlan, run_search
    from sweeps.study.catalogue import find_search

    if out is not None and is_url(str(out).replace(":/", "://", 1)):
        raise ValueError(f"{out}: a search keeps Optuna's SQLite storage in its output folder; name a folder")
    alerts = chosen_alerts(alert, price, budget)
    plan = SearchPlan(find_search(name))
    if trials is not None:
        check_at_least_one(trials=trials)
        plan.search = plan.search.model_copy(update={"trials": trials})
    folder = out or Path(f"portal-{plan.name}")
    outcome = run_search(
        plan,
        folder,
        executor=chosen_executor(executor),
        console=progress_console(),
        threads=threads_for(executor),
        gpus=gpus,
        alerts=alerts,
    )
    if as_json:
        _print_json(outcome)
    else:
        _print_trials(plan, outcome, folder)
    if outcome.best is None:
        warn(f"no trial came to its end; logs: {folder / 'logs'}")
    if outcome.best is None or any(trial.state == "running" for trial in outcome.trials):
        raise typer.Exit(FAILED)


def _print_json(outcome: "SearchResult") -> None:
    record = outcome.record.model_dump(mode="json")
    best = None if outcome.best is None else str(outcome.best)
    shares = {name: each._asdict() for name, each in outcome.record.importance.items()}
    told = {"trials": record["trials"], "importance": shares, "unknown": record["unknown"], "best": best}
    typer.echo(json.dumps({**told, "storage": outcome.storage}))


def _print_trials(plan: "SearchPlan", outcome: "SearchResult", folder: Path) -> None:
    """Counts by state, the best trials with their settings, and what to do with them."""
    typer.echo(f"search {plan.name}: {outcome.record.counts}")
    space = plan.search.space
    print_table(
        ("trial", "state", plan.search.metric, "epochs", *space),
        [
            (
                str(trial.number),
                trial.state,
                "" if trial.value is None else f"{trial.value:.4f}",
                "" if trial.epoch is None else str(trial.epoch),
                *(_shown(trial.settings[key]) for key in space),
            )
            for trial in outcome.trials[:SHOWN]
        ],
    )
    typer.echo(_importance(outcome.record))
    typer.echo(f"trials: optuna-dashboard {outcome.storage}")
    if outcome.best is not None:
        typer.echo(f"the best as a study: portal sweep run {outcome.best} --out {folder}")


def _importance(record: "SearchRecord") -> str:
    """Which settings mattered, in a line."""
    if record.unknown is not None:
        return f"which setting mattered is not known: {record.unknown}"
    shares = ", ".join(
        f"{name} {100 * each.share:.0f} % ({100 * each.low:.0f} to {100 * each.high:.0f})"
        for name, each in record.ranked
    )
    return f"which setting mattered (fANOVA over {len(record.complete)} trials, 95 %): {shares}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')
