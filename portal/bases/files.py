"""`BaseFiles`: where a base's files are, and what identifies its weights."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from portal.bases.gguf_conversion import converted, verify
from portal.bases.registry import known_bases, list_bases
from portal.config import BaseRef, Precision
from portal.messages import nearest, one_line
from portal.storage.paths import files_sha256

OTHER_BASES = "a folder as transformers saves models, a GGUF file, or a hub id like 'org/model'"
"""What a base can be beside a short name, for messages."""
_WEIGHT_FILES = ("*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class BaseFiles:
    """A folder, or a hub repository at `commit` (None: at its newest)."""

    name: str
    location: str
    commit: str | None = None
    gguf_sha256: str | None = None  # of the file that the folder was converted from

    @property
    def is_local(self) -> bool:
        return Path(self.location).is_dir()

    def revision(self) -> str:
        """The commit of a hub base, the digest of a folder's files, or that of the GGUF file behind it.

        A converted folder is verified first; ValueError when it is damaged, or when the hub must be asked and
        does not answer.
        """
        if self.gguf_sha256 is not None:
            verify(Path(self.location))
            return self.gguf_sha256
        if self.is_local:
            return folder_digest(Path(self.location))
        return self.commit or _hub_commit(self.location)

    def check(self, revision: str) -> None:
        """ValueError unless the files are those of that `revision`."""
        found = self.revision()
        if found != revision:
            raise ValueError(
                f"base {self.name!r}: its files have digest {found[:12]}, the run was planned with "
                f"{revision[:12]}"
            )


def locate(name: str) -> BaseFiles:
    """The files of a known name, a folder, a GGUF file (converted on first use), or a hub id.

    Raises ValueError with the nearest known name when `name` is none of them.
    """
    if name in known_bases():
        known = known_bases()[name]
        if known.package is not None:
            path = known.package.path()
            folder, digest = converted(path)
            if digest != known.package.sha256:
                raise ValueError(
                    f"base {name!r}: {path} has sha256 {digest[:12]}, not {known.package.sha256[:12]}; "
                    f"install it anew: {known.package.install}"
                )
            return BaseFiles(name, str(folder), gguf_sha256=digest)
        if Path(known.location).is_absolute() and not Path(known.location).is_dir():
            raise ValueError(
                f"base {name!r} is embedded, but {known.location} is missing: install the package anew"
            )
        return BaseFiles(name, known.location, commit=known.revision)
    if name.endswith(".gguf"):
        folder, digest = converted(Path(name))
        return BaseFiles(name, str(folder), gguf_sha256=digest)
    if Path(name).is_dir():
        _check_holds_model(Path(name))
        return BaseFiles(name, str(Path(name)))
    if name.count("/") == 1 and not name.startswith((".", "/")) and not name.endswith("/"):
        pins = {known.location: known.revision for known in list_bases()}
        return BaseFiles(name, name, commit=pins.get(name))
    if name.startswith((".", "/", "~")) or name.endswith("/"):
        raise ValueError(f"base {name!r}: no such folder")
    raise ValueError(f"unknown base {name!r}{nearest(name, known_bases())} (or {OTHER_BASES})")


def _check_holds_model(folder: Path) -> None:
    """ValueError for a folder that is no base, with what it seems to be instead."""
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"base {str(folder)!r}: the folder holds a PEFT adapter; its base is what is wanted here"
        )
    path = folder / "config.json"
    if path.is_file() and _may_be_a_models(path):
        return
    found = "its config.json is not a model's" if path.is_file() else "no config.json"
    guesses = sorted(each.name for each in folder.glob("*.gguf"))
    hint = f"; name its GGUF file: {folder / guesses[0]}" if guesses else ""
    raise ValueError(
        f"base {str(folder)!r}: the folder holds no model ({found}){hint}. A base is a short name of "
        f"`portal bases`, {OTHER_BASES}"
    )


def _may_be_a_models(config: Path) -> bool:
    """Whether the config names a kind of model, or cannot be read: who loads it says why."""
    try:
        return "model_type" in json.loads(config.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
        return True


def resolve(name: str, *, precision: Precision = "default") -> BaseRef:
    """`name` pinned: the hub commit of a hub base, the digest of the files of a local one."""
    return BaseRef(name=name, revision=locate(name).revision(), precision=precision)


def folder_digest(folder: Path) -> str:
    """Hex sha256 over the names and digests of a model folder's weights, config and tokenizer."""
    paths = sorted(path for pattern in _WEIGHT_FILES for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise ValueError(f"{folder}: no safetensors weights in this folder")
    return _digest_of({path.name: path for path in paths})


def hub_weights_digest(name: str, commit: str) -> str | None:
    """Hex sha256 over the weight files of a hub base as they lie in the cache; None for a local base.

    A local base's revision is such a digest already; a commit says nothing of a damaged copy.
    """
    files = locate(name)
    if files.is_local:
        return None
    return _digest_of(_hub_weights(files.location, commit))


def _digest_of(files: dict[str, Path]) -> str:
    digests = files_sha256([*files.values()])
    lines = [f"{name} {digest}" for name, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def are_weights_here(name: str, commit: str) -> bool:
    """Whether all weight files of a base are on this machine: those of a hub base in the hub's cache."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = locate(name)
    if files.is_local:
        return True
    try:
        return all(path.is_file() for path in _hub_weights(files.location, commit).values())
    except (LocalEntryNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError):
        return False  # nor where its index is damaged, of which more is said where the base is loaded


def _hub_weights(location: str, commit: str) -> dict[str, Path]:
    """Where the weight files of a hub base lie in the cache, by the names in its index, if they are there."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(location, revision=commit, local_files_only=True))
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = {*json.loads(index.read_bytes())["weight_map"].values()}
    return {name: folder / name for name in sorted(names)}


def hub_error(kind: str, name: str, location: str, error: BaseException) -> ValueError:
    """What to tell the user when `location` cannot be read: the cause, and the remedy if it is closed.

    `kind` is what `name` is meant to be: a base, an artifact.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    causes = [error, error.__cause__, error.__context__]
    token = "" if os.environ.get("HF_TOKEN") else " and set HF_TOKEN"
    if any(isinstance(cause, GatedRepoError) for cause in causes) or "gated repo" in str(error):
        return ValueError(f"{kind} {name!r}: {location} is gated; accept its terms on the hub{token}")
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        hint = f"; if it is private, {token[5:]}" if token else ""
        return ValueError(f"{kind} {name!r}: the hub has no repository {location}{hint}")
    if "trust_remote_code" in str(error):
        return ValueError(
            f"{kind} {name!r}: it needs code that comes with it, which is never run: the installed "
            "transformers has no class for its model type, or for its tokenizer"
        )
    reason = one_line(error, most=300) + _damage(Path(location))
    return ValueError(f"{kind} {name!r}: cannot be read from {location!r}: {reason}")


def _damage(folder: Path) -> str:
    """The tail of an error that names which of a model's files is no JSON; empty where all are."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        try:
            json.loads((folder / name).read_bytes())
        except OSError:  # it is not there, or another fault than this one
            continue
        except (json.JSONDecodeError, UnicodeDecodeError):
            return f" ({name} is damaged)"
    return ""


def _hub_commit(location: str) -> str:
    import httpx
    from huggingface_hub import HfApi

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise ValueError(
            f"base {location!r} has no pinned revision and the hub is switched off (HF_HUB_OFFLINE=1)"
        )
    try:
        sha = HfApi().model_info(location).sha
    except (httpx.HTTPError, OSError) as error:
        raise hub_error("base", location, location, error) from None
    if sha is None:
        raise ValueError(f"base {location!r}: the hub names no commit for it")
    return sha


def is_cached(name: str) -> bool:
    """Whether the hub's cache on this machine has the tokenizer of a hub base at its commit."""
    from huggingface_hub import try_to_load_from_cache

    files = locate(name)
    cached = try_to_load_from_cache(files.location, "tokenizer_config.json", revision=files.commit)
    return isinstance(cached, str)
