"""The files in an artifact's folder: their names, and how they are fetched, checked and read."""

import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from portal.artifacts.artifact_config import NEWEST_FORMAT, ArtifactConfig
from portal.artifacts.portal_record import RECORD, PortalRecord
from portal.bases.files import hub_error
from portal.frozen import content_key
from portal.messages import explain
from portal.storage.atomic import write_bytes_atomic
from portal.storage.object_store import ObjectPath, is_url
from portal.storage.paths import Folder, cache_folder, file_sha256
from portal.storage.records import check_unaltered
from portal.text.text_map import TEXT_MAP

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def fetch_artifact(location: str | Path, *, weights: bool = True) -> Path:
    """The folder itself, or a local copy of what a hub id or a store's URL names; else ValueError.

    A copy may lack the weights.
    """
    text = str(location)
    if is_url(text):
        return _copy_from_store(ObjectPath.open(text), weights=weights)
    folder = Path(location)
    if folder.is_dir():
        return folder
    repository, _, revision = text.partition("@")
    if repository.count("/") != 1 or text.startswith((".", "/")):
        raise ValueError(f"{text}: no such artifact folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [CONFIG, RECORD, CARD, *([WEIGHTS, TEXT_MAP] if weights else [])]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise hub_error("artifact", text, repository, error) from None


def _copy_from_store(folder: ObjectPath, *, weights: bool) -> Path:
    """The artifact's files in the cache; the ones that it lacks are missed where they are read."""
    copy = cache_folder() / "artifacts" / content_key(str(folder))
    for name in (CARD, RECORD, CONFIG, *([WEIGHTS, TEXT_MAP] if weights else [])):
        try:
            write_bytes_atomic(copy / name, (folder / name).read_bytes())
        except FileNotFoundError:
            (copy / name).unlink(missing_ok=True)
    if not copy.is_dir():
        raise ValueError(f"{folder}: no such artifact folder")
    return copy


def check_digests(folder: Path, record: PortalRecord | None) -> None:
    """ValueError where a file is not as its run or its record left it; artifacts with neither pass."""
    names = (CONFIG, WEIGHTS, TEXT_MAP, RECORD)
    digests = {name: file_sha256(folder / name) if (folder / name).is_file() else None for name in names}
    check_unaltered(folder, digests)
    if record is not None:
        record.check_files(folder, digests)


def read_config(path: Folder) -> ArtifactConfig:
    """The config of an artifact; ValueError when it is damaged, of another kind, or of a newer format."""
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent}: no {path.name}; not an artifact of `portal train` or `portal port`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > NEWEST_FORMAT:
        raise ValueError(
            f"{path}: format_version {version}, this version of portal reads up to {NEWEST_FORMAT}; "
            "update portal-sweeps"
        )
    try:
        config = ArtifactConfig.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{path}: not a portable artifact: {explain(error, ArtifactConfig)}") from None
    unknown = sorted(set(raw) - {*ArtifactConfig.model_fields, *ArtifactConfig.retired})
    if config.format_version > 1 and unknown:
        raise ValueError(f"{path}: {unknown[0]} is of a newer version of portal; update portal-sweeps")
    return config


def read_tensors(path: Path, config: ArtifactConfig) -> dict[str, Tensor]:
    """All tensors by the format's names, in fp32; ValueError unless they are what the config stands for."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") != "portallib":
                raise ValueError(f"{path}: not a portable artifact (its metadata has no format=portallib)")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged or missing weights ({error})") from None
    _check_tensors(path.parent, config, tensors)
    return tensors


def _check_tensors(folder: Path, config: ArtifactConfig, tensors: dict[str, Tensor]) -> None:
    expected = config.shapes
    for name, shape in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise ValueError(f"{folder}: tensor {name} {what}, {tuple(shape)} is expected")
        if not found.isfinite().all():
            raise ValueError(f"{folder}: tensor {name} has values that are not finite")
    for name in tensors:
        if name not in expected:
            raise ValueError(f"{folder}: tensor {name} has no place in the config's shapes")
