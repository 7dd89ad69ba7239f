"""Validated values that do not change, and the keys that their content gives them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from portal.messages import has_left


class _Added:
    """Marks a field that came after version 1: the hashed JSON leaves it out while it holds its default."""


ADDED = _Added()


@dataclass(frozen=True)
class Retired:
    """A field that earlier versions had. Old records may give its default, which stays in the JSON that is
    hashed where it was there.
    """

    default: Any
    hashed: bool = False


def content_key(text: str) -> str:
    """16 hex digits of the text's sha256: the name of what is known by its content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Frozen(BaseModel):
    """A validated value: unknown keys are refused, nothing changes after construction.

    The text below a field is its description in JSON schemas. A field of `retired` is read at its default and
    dropped; any other value of it is refused by name.
    """

    retired: ClassVar[Mapping[str, Retired]] = {}

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_retired_fields(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not cls.retired.keys() & values.keys():
            return values
        for name, field in cls.retired.items():
            if values.get(name, field.default) != field.default:
                raise ValueError(has_left(f"{name} {values[name]!r}"))
        return {name: value for name, value in values.items() if name not in cls.retired}

    def canonical_json(self) -> str:
        """The JSON that is hashed: fields of version 1, and later ones that do not hold their defaults."""
        values = self.model_dump()
        _as_hashed(self, values)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _as_hashed(model: BaseModel, values: dict[str, Any]) -> None:
    """Drop from a model's dumped `values` the fields that came after version 1 and hold their defaults, and
    add those of version 1 that were retired.
    """
    if isinstance(model, Frozen):
        values |= {name: field.default for name, field in model.retired.items() if field.hashed}
    for name, default in _added_defaults(type(model)):
        if getattr(model, name) == default:
            del values[name]
    for name in _parts_with_added(type(model)):
        value = getattr(model, name)
        if isinstance(value, tuple):
            for each, dumped in zip(value, values[name], strict=True):
                _as_hashed(each, dumped)
        elif value is not None:
            _as_hashed(value, values[name])


@cache
def _added_defaults(model: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    """The fields of a model that came after version 1, with their defaults."""
    fields = model.model_fields.items()
    return tuple((name, field.get_default()) for name, field in fields if ADDED in field.metadata)


@cache
def _parts_with_added(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that hold a model, or a tuple of models, with such or retired fields."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        for part in (field.annotation, *get_args(field.annotation))
        if isinstance(part, type) and issubclass(part, BaseModel)
        if _added_defaults(part) or _parts_with_added(part) or (issubclass(part, Frozen) and part.retired)
    )
