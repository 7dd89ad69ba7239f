"""Files that are read strictly: JSON records, the marker of a finished run, YAML.

DONE.json is written last. It holds the sha256 of every file of a finished run, by its path below the folder.
YAML is that of version 1.2, without duplicate keys, aliases and tags, up to a size.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import ValidationError

from portal.frozen import Frozen
from portal.messages import explain
from portal.storage.atomic import read_replaced, write_json_atomic
from portal.storage.paths import Folder


class Record(Frozen):
    """The content of a file. A subclass says what it is and how people come to a whole one again."""

    WHAT: ClassVar[str]
    REMEDY: ClassVar[str]

    @classmethod
    def read(cls, path: Folder) -> Self | None:
        """What the file holds; None where there is none. ValueError as of `read_json`."""
        raw = read_json(path, what=cls.WHAT, remedy=cls.REMEDY)
        return None if raw is None else cls.parse(raw, path)

    @classmethod
    def parse(cls, raw: Any, path: Folder) -> Self:
        """What the file at `path` holds, from its JSON."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise unlike(path, cls.WHAT, explain(error, cls), cls.REMEDY) from None

    def write(self, path: Folder) -> None:
        """Write the file whole."""
        write_json_atomic(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """A value that JSON can hold."""
        return self.model_dump(mode="json")


def read_json(path: Folder, *, what: str, remedy: str) -> dict[str, Any] | None:
    """The JSON object in the file; None where there is none.

    ValueError of one line for any other content: it names the file, what that should be, and the remedy.
    """
    try:
        value = json.loads(read_replaced(path))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise unlike(path, what, f"not readable as JSON, line {error.lineno}", remedy) from None
    except UnicodeDecodeError:
        raise unlike(path, what, "not readable as JSON", remedy) from None
    if not isinstance(value, dict):
        raise unlike(path, what, "not a JSON object", remedy)
    return value


def unlike(path: Folder, what: str, fault: str, remedy: str) -> ValueError:
    """The error of a file that is not what it should be."""
    return ValueError(f"{path}: not {what} ({fault}); {remedy}")


RUN, DONE = "run.json", "DONE.json"


class Marker(Record):
    """DONE.json of a finished run."""

    WHAT = "a run's marker"
    REMEDY = "delete the run's folder and run again"

    files: dict[str, str]


def write_marker(folder: Folder, digests: Mapping[str, str]) -> None:
    """Declare the run in `folder` finished, with its files by sha256."""
    Marker(files=dict(digests)).write(folder / DONE)


def read_marker(folder: Folder) -> dict[str, str] | None:
    """The sha256 of every file of a finished run, by path below its folder; None where there is no marker."""
    marker = Marker.read(folder / DONE)
    return None if marker is None else marker.files


def enclosing_run(path: Path) -> Path | None:
    """The run's folder that `path` lies in, links resolved; None for a path elsewhere."""
    parents = path.resolve().parents
    return next((each for each in parents if any((each / name).is_file() for name in (RUN, DONE))), None)


def check_unaltered(folder: Path, digests: Mapping[str, str | None]) -> None:
    """ValueError where files of `folder`, which a finished run has written, are not those of its marker.

    `digests` are the sha256 of the files as they are now, by name; None for a file that is not there. A
    folder outside of a finished run, or one that the run has not written, passes.
    """
    run = enclosing_run(folder)
    recorded = None if run is None else read_marker(run)
    if run is None or recorded is None:
        return
    place = folder.resolve().relative_to(run).as_posix()
    if not any(name.startswith(f"{place}/") for name in recorded):
        return
    for name, digest in digests.items():
        if recorded.get(f"{place}/{name}") != digest:
            raise ValueError(
                f"{folder / name}: altered since the run finished; restore it, or delete {run} and run again"
            )


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
