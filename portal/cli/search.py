"""`portal sweep search`: settings of a method, searched on the validation slice."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from portal.cli.options import check_at_least_one
from portal.cli.output import print_table, warn
from portal.cli.studies import Executor, Json, progress_console
from portal.cli.upkeep import sweep

EXIT_UNFINISHED = 3
SHOWN = 10


@sweep.command()
def search(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A study file with a `search` section.")],
    out: Annotated[Path | None, typer.Option(help="Output folder, no URL; default: portal-NAME.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials in all, instead of the file's.")] = None,
    executor: Executor = "auto",
    as_json: Json = False,
) -> None:
    """Search a method's settings with Optuna and write the best as a study; the same command goes on."""
    from portal.storage.object_store import is_url
    from sweeps.search.run_search import run_search
    from sweeps.search.search_file import SearchPlan

    if out is not None and is_url(str(out).replace(":/", "://", 1)):
        raise ValueError(f"{out}: a search keeps Optuna's SQLite storage in its output folder; name a folder")
    plan = SearchPlan(file)
    if trials is not None:
        check_at_least_one(trials=trials)
        plan.search = plan.search.model_copy(update={"trials": trials})
    threads = len(os.sched_getaffinity(0)) if executor == "local" else 1
    folder = out or Path(f"portal-{plan.name}")
    outcome = run_search(plan, folder, executor=executor, console=progress_console(), threads=threads)
    if as_json:
        listed = [vars(trial) for trial in outcome.trials]
        best = None if outcome.best is None else str(outcome.best)
        typer.echo(json.dumps({"trials": listed, "best": best, "storage": outcome.storage}))
    else:
        states = [trial.state for trial in outcome.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "fail"))
        if "running" in states:
            counts += f", {states.count('running')} not ended"
        typer.echo(f"search {plan.name}: {len(states)} trials; {counts}")
        print_table(
            ("trial", "state", plan.search.metric, "epochs", *plan.search.space),
            [
                (
                    str(trial.number),
                    trial.state,
                    "" if trial.value is None else f"{trial.value:.4f}",
                    "" if trial.epoch is None else str(trial.epoch),
                    *(_shown(trial.settings[key]) for key in plan.search.space),
                )
                for trial in outcome.trials[:SHOWN]
            ],
        )
        typer.echo(f"trials: optuna-dashboard {outcome.storage}")
        if outcome.best is not None:
            typer.echo(f"the best as a study: portal sweep run {outcome.best} --out {folder}")
    unfinished = any(trial.state == "running" for trial in outcome.trials)
    if outcome.best is None:
        warn(f"no trial came to its end; logs: {folder / 'logs'}")
    if outcome.best is None or unfinished:
        raise typer.Exit(EXIT_UNFINISHED)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')
