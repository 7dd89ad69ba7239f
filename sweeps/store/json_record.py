"""Small JSON records below an output folder, and the content keys that name their folders."""

import json
import re
from typing import Any

from portal.storage.atomic import read_replaced
from portal.storage.paths import Folder

_KEY = re.compile(r"[0-9a-f]{16}")


def checked_key(key: str) -> str:
    """The key, which is known to lead to nothing outside the output folder."""
    assert _KEY.fullmatch(key), f"{key!r} is no content key"
    return key


def read_record(path: Folder) -> dict[str, Any] | None:
    """The JSON object in the file, or None when it is not there; ValueError for anything else."""
    try:
        value = json.loads(read_replaced(path))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(
            f"{path}: not readable JSON; delete the folder {path.parent} and run again"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object; delete the folder {path.parent} and run again")
    return value
