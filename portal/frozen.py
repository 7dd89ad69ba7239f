"""Validated values that do not change, and the keys that their content gives them."""

import hashlib
import json
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class _Added:
    """Marks a field that came after version 1: the hashed JSON leaves it out while it holds its default."""


ADDED = _Added()


def content_key(text: str) -> str:
    """16 hex digits of the text's sha256: the name of what is known by its content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Frozen(BaseModel):
    """A validated value: unknown keys are refused, nothing changes after construction.

    The text below a field is its description in JSON schemas.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def canonical_json(self) -> str:
        """The JSON that is hashed: every field, but those added later while they hold their defaults."""
        values = self.model_dump()
        _drop_defaults(self, values)
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _drop_defaults(model: BaseModel, values: dict[str, Any]) -> None:
    """Drop from a model's dumped `values` the fields that came after version 1 and hold their defaults."""
    for name, default in _added_defaults(type(model)):
        if getattr(model, name) == default:
            del values[name]
    for name in _parts_with_added(type(model)):
        value = getattr(model, name)
        if isinstance(value, tuple):
            for each, dumped in zip(value, values[name], strict=True):
                _drop_defaults(each, dumped)
        elif value is not None:
            _drop_defaults(value, values[name])


@cache
def _added_defaults(model: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    """The fields of a model that came after version 1, with their defaults."""
    fields = model.model_fields.items()
    return tuple((name, field.get_default()) for name, field in fields if ADDED in field.metadata)


@cache
def _parts_with_added(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a model that hold a model, or a tuple of models, with such fields at any depth."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        for part in (field.annotation, *get_args(field.annotation))
        if isinstance(part, type) and issubclass(part, BaseModel)
        if _added_defaults(part) or _parts_with_added(part)
    )
