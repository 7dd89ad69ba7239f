"""`termination_interrupts`: what stops a driver, however it was started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt in the block, if this is the process's main thread.

    A shell starts what a script runs in the background with SIGINT ignored, and then Python has no handler
    for it. To be entered again after ray.init, whose own handler of SIGTERM aborts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
