"""A build step: wheels and source archives hold the commit they were built from, beside provenance.py."""

import json
import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

READER = Path("sweeps/store/provenance.py")


class CommitHook(BuildHookInterface[Any]):
    """An editable install reads the commit from its checkout, and an archive's wheel keeps the archive's."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the record to the build where there is a checkout. The project itself is not installed here."""
        reader = runpy.run_path(str(Path(self.root, READER)))
        inside = READER.with_name(reader["RECORD"])
        state = reader["git_state"](Path(self.root, READER))
        if version == "editable" or state is None or Path(self.root, inside).is_file():
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="portal-build-")
        record = Path(self._scratch.name, inside.name)
        record.write_text(json.dumps(state) + "\n")
        build_data["force_include"][str(record)] = str(inside)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Drop the record: the folder of a release holds its files and nothing else."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()
