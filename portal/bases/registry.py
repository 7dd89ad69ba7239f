"""`KnownBase`: bases with short names, each pinned to a hub commit or to files that come with a package.

known.yaml lists them, and configs/NAME.json is what shapes a base in its published config: rotary angles and
multipliers, which no shape hangs on, are left out. Both are read when they are first asked for.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from portal.bases.gguf_files import PackagedFile
from portal.embedded import FOLDER
from portal.frozen import Frozen
from portal.messages import validated
from portal.storage.records import read_yaml

_TABLE, _CONFIGS = Path(__file__).parent / "known.yaml", Path(__file__).parent / "configs"
MINI_FOLDER = FOLDER / "mini" / "bases"


class KnownBase(Frozen):
    """A base with a short name. `location` is a hub id, or a folder for the embedded ones.

    With its published config a base can be planned for where neither its files nor a network are at hand.
    """

    name: str
    location: str
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """A full hub commit; None: identified by the digest of its files."""
    licence: str = "Apache-2.0"
    about: str = "hub"
    package: PackagedFile | None = None
    config: str | None = None
    """The known base whose published config this one has, where that is not its own."""

    @model_validator(mode="before")
    @classmethod
    def _folder_is_in_the_package(cls, values: dict[str, Any]) -> dict[str, Any]:
        """An embedded base's `folder`, below portal/embedded, is where it lies."""
        if "folder" not in values:
            return values
        return {"location": str(FOLDER / values["folder"])} | {
            name: value for name, value in values.items() if name != "folder"
        }

    def availability(self) -> str:
        """`embedded`, `installed`, the command that installs it, or the hub id and commit it comes from."""
        if self.package is not None:
            return "installed" if self.package.is_installed() else self.package.install
        return "embedded" if self.revision is None else f"{self.location} @ {self.revision[:7]}"


@cache
def known_bases() -> dict[str, KnownBase]:
    """Every base with a short name, by that name."""
    return {
        name: validated(KnownBase, {"name": name, **values}, where=f"{_TABLE}: ")
        for name, values in read_yaml(_TABLE).items()
    }


def list_bases() -> tuple[KnownBase, ...]:
    """Every base with a short name; any other is named by its hub id, folder or GGUF file."""
    return tuple(known_bases().values())


def published_config(name: str) -> dict[str, Any] | None:
    """What shapes the base of that short name or hub id in its published config, and its `model_type`.

    None where that is not known here.
    """
    known = known_bases().get(name)
    if known is None and "/" in name and not Path(name).is_dir():
        known = next((each for each in known_bases().values() if each.location == name), None)
    path = _CONFIGS / f"{known.config or known.name}.json" if known is not None else None
    return json.loads(path.read_bytes()) if path is not None and path.is_file() else None


def public_name(name: str) -> str:
    """What artifacts call a base: its hub id, or the name itself where the weights are local."""
    known = known_bases().get(name)
    return name if known is None or known.revision is None else known.location


def weights_note(name: str) -> str | None:
    """What must be said beside any number of a base whose weights are not the published ones."""
    if name.endswith(".gguf"):
        return f"weights of {Path(name).name}, quantised unless its name says otherwise"
    known = known_bases().get(name)
    return known.about if known is not None and known.package is not None else None
