"""`main`: the `portal` command, and the one boundary where an error becomes a line and an exit code."""

import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from portal.cli import (
    catalogue,
    clusters,
    doctor,
    evaluate,
    export,
    gpu_check,
    inspect,
    registry,
    reports,
    sweep,
    teach,
    training,
    try_task,
)
from portal.cli.exit_codes import DONE, FAILED, INTERRUPTED, MISTAKE
from portal.messages import nearest, one_line

_START, _METHOD, _STUDIES, _CATALOGUE = "Start here", "One base or artifact", "Studies", "What there is"
_REGISTRY = "Many bases and tasks"

app = typer.Typer(
    name="portal",
    help="Learn a task once, port it to every new language model.",
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel=_START)(sweep.demo)
app.command(rich_help_panel=_START)(doctor.doctor)
app.command(rich_help_panel=_START)(gpu_check.gpu_check)
app.command(rich_help_panel=_METHOD)(training.train)
app.command(rich_help_panel=_METHOD)(training.port)
app.command(rich_help_panel=_METHOD)(teach.teach)
app.command(name="eval", rich_help_panel=_METHOD)(evaluate.evaluate)
app.command(name="try", rich_help_panel=_METHOD)(try_task.try_task)
app.command(rich_help_panel=_METHOD)(export.export)
app.command(rich_help_panel=_METHOD)(inspect.inspect)
app.command(rich_help_panel=_METHOD)(evaluate.conflicts)
app.command(rich_help_panel=_REGISTRY)(registry.registry)
app.command(rich_help_panel=_REGISTRY)(registry.adapters)
app.add_typer(sweep.sweep, name="sweep", rich_help_panel=_STUDIES)
app.command(rich_help_panel=_STUDIES)(reports.report)
app.add_typer(clusters.cluster, name="cluster", rich_help_panel=_STUDIES)
app.command(rich_help_panel=_CATALOGUE)(catalogue.bases)
app.command(rich_help_panel=_CATALOGUE)(catalogue.tasks)
app.command(rich_help_panel=_CATALOGUE)(catalogue.params)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and the commit, and exit.")
    ] = False,
) -> None:
    if version:
        from portal import __version__
        from sweeps.store.provenance import code_state, describe_code

        typer.echo(f"{__version__} ({describe_code(code_state())})")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


def _settle_waiting_threads() -> None:
    """Let torch's threads wait for each other awake for some microseconds only, then sleep.

    Measured on two cores, steps on a small base and on SmolLM2: with nothing else on the machine, a step
    takes 0.8 to 1.3 times as long with a thousand turns as with torch's own milliseconds, and 1.2 to 2.5
    times where threads sleep at once. Beside other processes it takes 1.2 to 1.7 times as long with a
    thousand turns as where threads sleep at once, and 1.5 to 2 times with milliseconds.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"  # of other libraries than GNU's
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of `portal ARGUMENTS` (default: the process's own).

    A user's mistake (ValueError, OSError, a wrong command line) is one line on stderr, without a traceback;
    PORTAL_TRACEBACK=1 shows the traceback too.
    """
    _settle_waiting_threads()
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # shapes change at every step
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries; the failure itself is told
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="transformers|peft"
    )  # not the user's to mend
    try:
        code = app(args=arguments, prog_name="portal", standalone_mode=False)
    except typer.TyperException as error:
        return _report(_usage(error), MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except FloatingPointError as error:
        return _report(one_line(error), FAILED)
    except BrokenPipeError:
        sys.stdout = None  # the reader is gone: nothing more can be flushed to it
        return DONE
    except OSError as error:
        return _report(_describe(error), MISTAKE)
    except ValueError as error:
        return _report(one_line(error), MISTAKE)
    except (RuntimeError, MemoryError) as error:
        from portal.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _report(f"out of memory: {one_line(error)}", FAILED)
    return _interrupted() if code == INTERRUPTED else code or DONE


def _interrupted() -> int:
    return _report("interrupted; the same command continues where it stopped", INTERRUPTED)


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
    message = re.sub(r"Value error, '(.*)' is not one of (.*)\.", _unknown, error.format_message())
    return f"{message} (see `{command} --help`)"


def _unknown(refused: re.Match[str]) -> str:
    """What typer says of a value that is none of the alternatives, with the nearest of them."""
    known = re.findall("'(.+?)'", refused[2])
    return f"unknown {refused[1]!r}{nearest(refused[1], known)}"


def _describe(error: OSError) -> str:
    """The path, the reason, and what would do for the reasons that a user can mend."""
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
