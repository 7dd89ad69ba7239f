"""`BaseCache`: the bases that a process has loaded, fetched and verified once a node."""

import hashlib
from collections.abc import Collection

from portal.bases.base import Base, load_base
from portal.bases.files import hub_weights_digest
from portal.config import BaseRef
from portal.storage.atomic import only_one, write_bytes_atomic
from portal.storage.paths import cache_folder
from sweeps.store.lease import boot_id
from sweeps.store.run_store import Store


class BaseCache:
    """Bases by reference and device; a process has one of these, and its packs share what is in it."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[BaseRef, str], Base] = {}

    @property
    def names(self) -> set[str]:
        return {ref.name for ref, _ in self._loaded}

    def load(self, ref: BaseRef, device: str, store: Store, token: str) -> Base:
        """The base, loaded once: its weights are those of the reference, and those on record in `store`.

        The first process of a node that needs it in the launch `token` fetches and verifies it, while others
        wait; they map the same files. ValueError when the weights are others.
        """
        identity = (ref, device)
        if identity not in self._loaded:
            self._loaded[identity] = _load(ref, device, store, token)
        return self._loaded[identity]

    def keep(self, refs: Collection[BaseRef], device: str) -> None:
        """Drop all others: what a plan says of memory holds for one pack."""
        for ref, where in [*self._loaded]:
            if ref not in refs or where != device:
                del self._loaded[ref, where]


def _load(ref: BaseRef, device: str, store: Store, token: str) -> Base:
    name = hashlib.sha256(ref.model_dump_json().encode()).hexdigest()[:16]
    record = cache_folder() / "verified" / f"{boot_id()}-{name}"  # of this node, until it starts again
    record.parent.mkdir(parents=True, exist_ok=True)
    with only_one(record.with_suffix(".lock")):
        if not record.is_file() or record.read_text() != token:
            base = load_base(ref.name, device=device, revision=ref.revision, precision=ref.precision)
            digest = hub_weights_digest(ref.name, ref.revision)
            if digest is not None:
                store.check_weights(ref, digest)
            write_bytes_atomic(record, token.encode())
            return base
    return load_base(ref.name, device=device, revision=ref.revision, precision=ref.precision, verified=True)
