"""`Record`: a JSON file of ours: written whole, read with one line that says what is wrong and what to do."""

import json
from typing import Any, ClassVar, Self

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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise unlike(path, what, f"not readable as JSON: {error}", remedy) from None
    if not isinstance(value, dict):
        raise unlike(path, what, "not a JSON object", remedy)
    return value


def unlike(path: Folder, what: str, fault: str, remedy: str) -> ValueError:
    """The error of a file that is not what it should be."""
    return ValueError(f"{path}: not {what} ({fault}); {remedy}")


def too_new(path: Folder, field: str, version: int, newest: int) -> ValueError:
    """The error of a file that a newer version of this package has written."""
    return ValueError(
        f"{path}: {field} {version}, this version of portal reads up to {newest}; update portal-sweeps"
    )
