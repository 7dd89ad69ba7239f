"""`Inspection`: what an artifact is, from its config and its record; its weights are not read."""

from dataclasses import dataclass
from pathlib import Path

from portal.artifacts.artifact_config import ArtifactConfig
from portal.artifacts.artifact_files import CONFIG, fetch_artifact, read_config
from portal.artifacts.portal_record import PortalRecord, read_record
from portal.bases.sites import count_groups
from portal.hypernet import converter_num_params, core_num_params
from portal.storage.paths import Folder, file_sha256
from portal.text.text_map import TEXT_MAP


@dataclass(frozen=True)
class Inspection:
    """An artifact's folder, `config.json`, and `portal.json`, which one that portallib wrote lacks."""

    folder: Folder
    config: ArtifactConfig
    record: PortalRecord | None

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the latents."""
        return self.config.tasks

    @property
    def calibrated(self) -> tuple[str, ...] | None:
        """The tasks whose rows the converter was trained on; None where that is not recorded."""
        return None if self.record is None else self.record.calibrated(self.tasks)

    @property
    def understands_text(self) -> bool:
        """Whether new tasks can be described to it."""
        return self.record is not None and TEXT_MAP in self.record.files

    @property
    def num_params(self) -> dict[str, int]:
        """Parameters of the latents, of the core and of the converter."""
        config = self.config
        return {
            "latents": len(config.tasks) * config.d_z,
            "core": core_num_params(config.hypernet, config.adapter),
            "converter": converter_num_params(config.hypernet, config.groups, config.n_layers),
        }

    @property
    def layers_by_module(self) -> dict[str, int]:
        """How many layers carry each adapted module."""
        return count_groups(self.config.groups)


def inspect_artifact(location: str | Path) -> Inspection:
    """The artifact in a folder or at a hub id, of which only the small files are fetched.

    ValueError, in one line, when it is missing, its config damaged or altered, or of another format.
    """
    return inspect_folder(fetch_artifact(location, weights=False))


def inspect_folder(folder: Folder) -> Inspection:
    """The same of a folder, which is read where it lies."""
    config, record = read_config(folder / CONFIG), read_record(folder)
    if record is not None:
        record.check_files(folder, record.files | {CONFIG: file_sha256(folder / CONFIG)})
    return Inspection(folder, config, record)
