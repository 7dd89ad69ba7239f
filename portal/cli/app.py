"""`main`: parses the command line, and is the one boundary where an error becomes a line and an exit code.

Exit codes: 0 all done, 2 the user's mistake, 3 some runs failed, 130 interrupted.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from portal.cli import catalogue, clusters, doctor, evaluate, export, reports, search, studies, training
from portal.config import one_line

EXIT_MISTAKE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="portal",
    help="Learn a task once, port it to every new language model.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(studies.demo)
app.add_typer(search.sweep, name="sweep")
app.add_typer(clusters.cluster, name="cluster")
app.command()(reports.report)
app.command()(training.train)
app.command()(training.port)
app.command()(export.export)
app.command(name="eval")(evaluate.evaluate)
app.command()(catalogue.params)
app.command()(catalogue.bases)
app.command()(catalogue.tasks)
app.command()(doctor.doctor)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from portal import __version__

        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of `portal ARGUMENTS` (default: the process's own).

    A user's mistake (ValueError, OSError, a wrong command line) is one line on stderr, without a traceback;
    PORTAL_TRACEBACK=1 shows the traceback too.
    """
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries; the failure itself is told
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="transformers|peft"
    )  # not the user's to mend
    try:
        code = app(args=arguments, prog_name="portal", standalone_mode=False)
    except typer.TyperException as error:
        return _report(_usage(error), EXIT_MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        return _report("interrupted; the same command continues where it stopped", EXIT_INTERRUPTED)
    except FloatingPointError as error:
        return _report(one_line(error), EXIT_FAILED)
    except BrokenPipeError:
        sys.stdout = None  # the reader is gone: nothing more can be flushed to it
        return 0
    except OSError as error:
        return _report(_describe(error), EXIT_MISTAKE)
    except ValueError as error:
        return _report(one_line(error), EXIT_MISTAKE)
    if code == EXIT_INTERRUPTED:
        return _report("interrupted; the same command continues where it stopped", EXIT_INTERRUPTED)
    return code or 0


def _report(message: str, code: int) -> int:
    if os.environ.get("PORTAL_TRACEBACK") == "1" and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    print(f"portal: {message}", file=sys.stderr)
    return code


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "portal"
    return f"{error.format_message()} (see `{command} --help`)"


def _describe(error: OSError) -> str:
    """path: reason, and what would do for the reasons a user can mend."""
    if error.strerror is None:
        return one_line(error)
    advice = {
        "PermissionError": "; choose a place you can write to with --out",
        "FileNotFoundError": "; check the spelling",
        "NotADirectoryError": "; a file stands where a folder is needed",
        "FileExistsError": "; a file stands where a folder is needed",
    }.get(type(error).__name__, "")
    if error.filename is None:
        return f"{error.strerror}{advice}"
    return f"{error.filename}: {error.strerror}{advice}"
