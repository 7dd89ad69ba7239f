"""`ObjectPath`: a name in an object store, with what this project uses of pathlib.Path's interface.

An object appears whole or not at all, so there is nothing to rename and nothing to flush. Folders exist while
something is in them. obstore talks to S3 and Google Cloud Storage; unlike Arrow's file systems it can
create an object on the condition that there is none.
"""

import fnmatch
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import total_ordering
from itertools import takewhile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from portal.messages import one_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore

RETRIES, RETRY_S, BRIEF_S = 8, 120.0, 2.0
"""Tries of a request after the first, and the seconds that they may take: in general, and when urgent."""
_URL = re.compile(r"(s3|gs)://[^/]+")


def is_url(text: str) -> bool:
    """Whether the text names a place in an object store."""
    return _URL.match(text) is not None


@dataclass(frozen=True)
class ObjectStat:
    """Bytes of an object."""

    st_size: int


@total_ordering
class ObjectPath:
    """`key` below `root`, the URL that `store` was opened for. Errors of the store are OSErrors."""

    def __init__(self, store: "ObjectStore", root: str, key: str = "") -> None:
        self._store, self.root = store, root.rstrip("/")
        self._key = PurePosixPath(key)

    @classmethod
    def open(cls, url: str, *, retry_s: float = RETRY_S) -> "ObjectPath":
        """The folder at `url`; credentials and endpoint come from the environment, as for other tools.

        A request that fails for reasons that may pass is repeated for `retry_s` seconds.
        ValueError when the extra `object-store` is not installed or the URL is none.
        """
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ModuleNotFoundError:
            raise ValueError(f"{url}: needs pip install 'portal-sweeps[object-store]'") from None
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        client: Any = {"allow_http": True} if endpoint.startswith("http://") else {}
        retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=retry_s)}
        try:
            return cls(from_url(url, client_options=client, retry_config=retries), url)
        except (BaseError, ValueError) as error:
            raise ValueError(f"{url}: {one_line(error, most=300)}") from None

    def brief(self) -> "ObjectPath":
        """The same place, for requests that are soon outdated: they fail within seconds."""
        return ObjectPath.open(self.root, retry_s=BRIEF_S) / self.key

    def __truediv__(self, name: str) -> "ObjectPath":
        return self._at(self._key / name)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __lt__(self, other: "ObjectPath") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.root, self.key)

    @property
    def key(self) -> str:
        return "" if self._key == PurePosixPath() else self._key.as_posix()

    @property
    def name(self) -> str:
        return self._key.name

    @property
    def stem(self) -> str:
        return self._key.stem

    @property
    def parent(self) -> "ObjectPath":
        return self._at(self._key.parent)

    @property
    def parents(self) -> tuple["ObjectPath", ...]:
        return tuple(self._at(parent) for parent in self._key.parents)

    def with_suffix(self, suffix: str) -> "ObjectPath":
        return self._at(self._key.with_suffix(suffix))

    def relative_to(self, other: "ObjectPath") -> PurePosixPath:
        return self._key.relative_to(other._key)

    def resolve(self) -> "ObjectPath":
        return self

    def read_bytes(self) -> bytes:
        """FileNotFoundError when there is no such object."""
        import obstore

        with self._naming():
            return bytes(obstore.get(self._store, self.key).bytes())

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def open_bytes(self) -> io.BytesIO:
        """The whole object as a file in memory."""
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, data: bytes) -> None:
        import obstore

        with self._naming():
            obstore.put(self._store, self.key, data)

    def create(self, data: bytes) -> bool:
        """Write the object unless there is one; False when there is another one.

        One with this content is ours: an answer was lost and the request repeated.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with self._naming():
            try:
                obstore.put(self._store, self.key, data, mode="create")
            except AlreadyExistsError:
                return self.read_bytes() == data
        return True

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        return any(True for _ in self._below())

    def stat(self) -> ObjectStat:
        import obstore

        with self._naming():
            return ObjectStat(obstore.head(self._store, self.key)["size"])

    def iterdir(self) -> Iterator["ObjectPath"]:
        import obstore

        with self._naming():
            found = obstore.list_with_delimiter(self._store, self.key or None)
            keys = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return iter([self._at(PurePosixPath(key)) for key in sorted(keys)])

    def rglob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Objects, not folders, anywhere below, whose names match."""
        return (path for path in self._below() if fnmatch.fnmatchcase(path.name, pattern))

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Objects and folders below that match the pattern part by part; ** is not known."""
        wanted = PurePosixPath(pattern).parts
        literal = list(takewhile(lambda part: not set(part) & set("*?["), wanted[:-1]))
        found = set()
        for path in self._at(self._key.joinpath(*literal))._below():
            parts = path.relative_to(self).parts[: len(wanted)]
            if len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted)):
                found.add(self / "/".join(parts))
        return iter(sorted(found))

    def unlink(self, missing_ok: bool = False) -> None:
        import obstore

        with self._naming():
            try:
                obstore.delete(self._store, self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def remove(self) -> None:
        """Everything below this name, and the object of this name."""
        import obstore

        keys = [path.key for path in self._below()]
        with self._naming():
            if keys:
                obstore.delete(self._store, keys)
        self.unlink(missing_ok=True)

    def _below(self) -> Iterator["ObjectPath"]:
        import obstore

        with self._naming():
            for batch in obstore.list(self._store, self.key or None):
                for each in batch:
                    yield self._at(PurePosixPath(each["path"]))

    def _at(self, key: PurePosixPath) -> "ObjectPath":
        return ObjectPath(self._store, self.root, key.as_posix())

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """The store's errors as OSErrors that say where."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(2, "no such object", str(self)) from None
        except BaseError as error:
            raise OSError(5, one_line(error, most=300), str(self)) from None


def _reopened(root: str, key: str) -> ObjectPath:
    return ObjectPath.open(root) / key
