"""`BaseCache`: the bases that a process has loaded, verified once per node."""

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from portal.bases.base import Base, load_base
from portal.bases.files import are_weights_here, hub_weights_digest, locate
from portal.bases.operations import Operations
from portal.config import BaseRef
from portal.device import release_memory
from portal.frozen import content_key
from portal.storage.atomic import only_one, write_bytes_atomic
from portal.storage.paths import cache_folder
from sweeps.store.lease import boot_id
from sweeps.store.output_folder import BaseRecords


class BaseCache:
    """Bases by reference and device; a process has one of these, and its packs share what is in it."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[BaseRef, str], Base] = {}

    @property
    def names(self) -> set[str]:
        """Names of the bases that are loaded."""
        return {ref.name for ref, _ in self._loaded}

    def load(
        self,
        ref: BaseRef,
        device: str,
        records: BaseRecords,
        token: str,
        operations: Operations | None = None,
        *,
        num_gpus: int = 1,
    ) -> Base:
        """The base, loaded once: its weights are those of the reference, and those in the study's `records`.

        The first process of a node that needs it in the launch `token` verifies it, while others load it and
        then wait for that. ValueError when the weights are others.
        """
        identity = (ref, device)
        if identity not in self._loaded:
            load = partial(
                load_base,
                ref.name,
                device=device,
                revision=ref.revision,
                precision=ref.precision,
                verified=True,
                operations=operations,
                num_gpus=num_gpus,
            )
            self._loaded[identity] = _verified(load, ref, records, token)
        return self._loaded[identity]

    def loaded(self, ref: BaseRef, device: str) -> Base | None:
        """The base, where it is here already."""
        return self._loaded.get((ref, device))

    def keep(self, refs: Collection[BaseRef], device: str) -> None:
        """Drop all other bases, and their memory: a plan's prediction of memory holds for one pack."""
        others = [(ref, where) for ref, where in self._loaded if ref not in refs or where != device]
        for identity in others:
            del self._loaded[identity]
        if others:
            release_memory()  # a base whose modules refer to each other stays until they are collected


def _verified(load: Callable[[], Base], ref: BaseRef, records: BaseRecords, token: str) -> Base:
    """What `load` gives, once its files are known to be the right ones."""
    if not are_weights_here(ref.name, ref.revision):  # to load is to fetch what is verified
        base = load()
        verify_once(ref, records, token)
        return base
    loading: Future[Base] = Future()
    with ThreadPoolExecutor(1) as beside:
        verifying = beside.submit(verify_once, ref, records, token, loading.result)
        try:
            loading.set_result(load())
        except BaseException as error:
            loading.set_exception(error)
            raise
        finally:
            verifying.result()  # that files are others says more than what was wrong with them
    return loading.result()


def verify_once(
    ref: BaseRef, records: BaseRecords, token: str, has_loaded: Callable[[], object] = lambda: None
) -> None:
    """Find out whether the base's files are those of the reference, once per node and launch.

    A node's other processes wait for the one that does. ValueError when they are others. Before a hub base
    is recorded for the first time, `has_loaded` waits until it has been read, and raises what went wrong.
    """
    name = f"{boot_id()}-{content_key(ref.model_dump_json())}"
    record = cache_folder() / "verified" / name  # of this node, until it starts again
    with only_one(record.with_suffix(".lock")):
        if record.is_file() and record.read_text() == token:
            return
        files = locate(ref.name)
        if files.is_local:
            files.check(ref.revision)
        else:
            digest = hub_weights_digest(ref.name, ref.revision)
            assert digest is not None, "a hub base has weight files"
            if records.recorded(ref) is None:
                has_loaded()
            records.check(ref, digest)
        write_bytes_atomic(record, token.encode())
