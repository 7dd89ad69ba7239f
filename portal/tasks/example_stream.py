"""`ExampleFile`: a split of finished prompts that is read while it is iterated, never held as a whole."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

from portal.tasks.example import Example
from portal.tasks.records import Record, stream_records

_DIGEST_BYTES = 16


class ExampleFile(Sequence[Example]):
    """The examples of `files`, in their order. `make(place, index, row)` makes an example of a row.

    All rows are read once at the start and checked, which gives their number and `sha256`: a hash over the
    sorted digests of the examples. ValueError for a row that is no example, and for an id that comes twice.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[str, int, Record], Example]) -> None:
        self._files, self._make = tuple(files), make
        ids, contents = bytearray(), bytearray()
        for example in self:
            ids += _digest(example.id)
            contents += _digest(json.dumps(example.values))
        self._count = len(ids) // _DIGEST_BYTES
        if len(np.unique(_as_rows(ids))) != self._count:
            raise ValueError(f"{self._files[0]}: two rows have the same id")
        self.sha256 = hashlib.sha256(np.sort(_as_rows(contents)).tobytes()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        index = 0
        for path in self._files:
            for place, record in enumerate(stream_records(path)):
                yield self._make(f"{path}, row {place}", index, record)
                index += 1

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        """Read the examples at `place`; all rows before them are read too."""
        if isinstance(place, slice):
            return list(islice(self, *place.indices(self._count)))
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return next(islice(self, place % self._count, None))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


def _as_rows(digests: bytearray) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    return np.frombuffer(bytes(digests), dtype=f"V{_DIGEST_BYTES}")
