"""`portal sweep`: the commands of a study, in the order in which help lists them."""

import typer

from portal.cli.sweep import plan, run, schema, search, status, upkeep

_RUN, _FOLDER, _FILE = "Plan and run", "Output folder", "Study file"

sweep = typer.Typer(help="Plan, run, search and look after studies.")
sweep.command(rich_help_panel=_RUN)(plan.plan)
sweep.command(rich_help_panel=_RUN)(run.run)
sweep.command(rich_help_panel=_RUN)(search.search)
sweep.command(rich_help_panel=_RUN)(upkeep.retry)
sweep.command(rich_help_panel=_RUN)(upkeep.pause)
sweep.command(rich_help_panel=_RUN)(upkeep.stop)
sweep.command(rich_help_panel=_FOLDER)(status.status)
sweep.command(rich_help_panel=_FOLDER)(status.collect)
sweep.command(rich_help_panel=_FOLDER)(upkeep.cancel)
sweep.command(rich_help_panel=_FOLDER)(upkeep.fsck)
sweep.command(rich_help_panel=_FOLDER)(upkeep.gc)
sweep.command(rich_help_panel=_FILE)(schema.schema)
