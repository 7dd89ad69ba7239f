"""`CheckpointWriter`: writes checkpoints in a thread of its own, while training goes on."""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from portal.device import copy_to_host
from portal.storage.checkpoint import save_checkpoint
from portal.storage.paths import Folder


class CheckpointWriter:
    """Writes the checkpoints of `folder`, one at a time.

    The caller waits for copies of what it saves, not for the disk. What goes wrong in writing, whatever
    `save_checkpoint` or a permit raises, is raised by the next call of any method, once.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self.seconds = 0.0
        """How long the newest checkpoint took, from its copies to its place on the disk."""

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is on its way to the disk."""
        return self._writing is not None and not self._writing.done()

    def start(
        self,
        sequence: int,
        tensors: Mapping[str, Tensor],
        meta: dict[str, Any],
        check_permit: Callable[[], None],
    ) -> None:
        """Save this state as it is now; waits for the checkpoint that was started before."""
        self.wait()
        started = time.perf_counter()
        copies, wait_for_copies = copy_to_host(tensors)
        fixed = json.loads(json.dumps(meta))

        def write() -> None:
            wait_for_copies()
            save_checkpoint(self._folder, sequence, copies, fixed, check_permit=check_permit)
            self.seconds = time.perf_counter() - started

        self._writing = self._thread.submit(write)

    def check(self) -> None:
        """Raise what has gone wrong, without waiting."""
        if not self.is_writing:
            self.wait()

    def wait(self) -> None:
        """Wait until the checkpoint that was started last lies in its place."""
        if (error := self.failure()) is not None:
            raise error

    def failure(self) -> BaseException | None:
        """What has gone wrong in writing the last checkpoint, once it has ended; None: nothing."""
        writing, self._writing = self._writing, None
        return None if writing is None else writing.exception()
