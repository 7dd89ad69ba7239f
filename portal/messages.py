"""Error messages of one line: the nearest known name, where a config is wrong, what another library says."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


def nearest(word: str, known: Iterable[str]) -> str:
    """The tail of an error message: `; did you mean 'x'?`, or all of `known` when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def has_left(what: str) -> str:
    """The error message for what earlier versions had, with the commit that still runs it."""
    return f"{what} is no longer there; commit ea55e6a (tag before-13) still runs it"


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(error: BaseException, *, most: int | None = None) -> str:
    """The message without line breaks, or the name of the error's class where it is empty.

    `most`: errors of other libraries can be pages long, so the message is cut to so many characters.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def refusal(check: Callable[[], object]) -> str | None:
    """What the ValueError says that `check` raises; None where it raises none."""
    try:
        check()
    except ValueError as error:
        return one_line(error)
    return None


def validated(model: type[Model], values: Mapping[str, Any], *, where: str = "") -> Model:
    """`model` built from `values`; ValueError of a line, after `where`, names the first that is refused."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{where}{explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for the first fault of a validation error: where, what, and the nearest valid key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or model.__name__
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(first['loc'][-1]), _keys_at(model, first['loc'][:-1]))}"
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        words = re.findall(r"'([^']*)'", first["ctx"]["expected"])  # 'keep' or 'recompute'
        return f"{where}: unknown {_noun(first['loc'])} {first['input']!r}{nearest(first['input'], words)}"
    value = "" if first["type"] in ("missing", "value_error") else f" (got {first['input']!r})"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{value}"


def _noun(path: tuple[int | str, ...]) -> str:
    """What the value at the path is: the field's name, in the singular for an entry of a list."""
    field = next(part for part in reversed(path) if isinstance(part, str))
    return field if field == path[-1] else field.removesuffix("s")


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> Iterable[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            model = nested[0]
    return model.model_fields
