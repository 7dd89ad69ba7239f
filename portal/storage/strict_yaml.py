"""Strict YAML: YAML 1.2 scalars, no duplicate keys, no aliases, no tags, a size limit."""

import re
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the file; ValueError, in one line with file and line number, for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path}: {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        value = yaml.load(data.decode(), Loader=_StrictLoader)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}{_where(error)}: {_problem(error)}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a mapping of keys to values")
    return value


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader whose plain scalars follow YAML 1.2's core schema (1e-3 is a number, `on` is text)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own attribute, emptied

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"alias *{event.anchor} is not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float) and key is not None:
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            if key in mapping:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


for _name, _pattern, _first in _SCALARS:
    _StrictLoader.add_implicit_resolver(
        f"{_TAG}{_name}", re.compile(_pattern), [c if c != "\0" else "" for c in _first]
    )
_StrictLoader.add_constructor(f"{_TAG}int", lambda loader, node: int(_scalar(loader, node)))
_StrictLoader.add_constructor(f"{_TAG}float", lambda loader, node: float(_scalar(loader, node)))


def _scalar(loader: Any, node: yaml.Node) -> str:
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())
