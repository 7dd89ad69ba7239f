"""What a command prints, and how it reads lists and configs from its options."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from portal.messages import explain, nearest

if TYPE_CHECKING:
    from rich.console import Console

Model = TypeVar("Model", bound=BaseModel)
Name = TypeVar("Name", bound=str)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns: the first to the left, numbers to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    right = [
        column > 0 and all(_is_number(line[column]) for line in lines[1:]) for column in range(len(headers))
    ]
    for line in lines:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def progress_console() -> "Console":
    """Where progress goes: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print to stderr, in the voice of the command."""
    typer.echo(f"portal: {message}", err=True)


def comma_list(text: str, *, known: Iterable[str] | None = None, what: str) -> tuple[str, ...]:
    """The names in `a,b,c`; ValueError for an empty, repeated or (where `known` is given) unknown one."""
    names = tuple(name.strip() for name in text.split(","))
    known = None if known is None else tuple(known)
    for name in names:
        if not name:
            raise ValueError(f"an empty {what} name in {text!r}")
        if known is not None:
            check_known(name, known, what=what)
    if len(set(names)) != len(names):
        raise ValueError(f"a {what} is named twice in {text!r}")
    return names


def check_known(name: str, known: Sequence[Name], *, what: str) -> Name:
    """The one of `known` that `name` is; ValueError with the nearest of them when it is none."""
    for each in known:
        if each == name:
            return each
    raise ValueError(f"unknown {what} {name!r}{nearest(name, known)}")


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """`model` built from `values`; ValueError, in one line, names the first one that is refused."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, model)) from None


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).replace("-", "", 1).isdigit()
