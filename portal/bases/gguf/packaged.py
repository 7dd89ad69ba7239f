"""GGUF files that come inside Python packages, whole or in parts."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from portal.storage.atomic import aside
from portal.storage.paths import cache_folder

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
