"""What a driver shows while a study runs, where other output goes, and what interrupts the driver."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from portal.config import RunConfig
from sweeps.planning.plan import stage_names
from sweeps.store.run_store import FinishedRuns, RunStore
from sweeps.store.session import read_progress
from sweeps.study.expand import stage_of

REFRESH_S = 1.0
BEGIN_S = 0.5
"""Seconds between looks until a stage has begun: its first line is what people wait for."""
PLAIN_S = 15.0
"""Seconds between plain lines, unless a stage ends sooner."""


@dataclass(frozen=True)
class StageState:
    """How far a stage is: runs, the share of its cost that is done, and what is in training now.

    `active` says whether a lane works on it, from before its first step on.
    """

    stage: int
    done: int
    total: int
    share: float
    steps_per_s: float
    loss: float | None
    active: bool

    def text(self, eta_s: float | None) -> str:
        parts = [f"{self.done}/{self.total} runs"]
        if 0 < self.share < 1:
            parts.append(f"{math.floor(100 * self.share)} %")
        if self.steps_per_s:
            parts.append(f"{self.steps_per_s:.1f} steps/s")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if eta_s is not None and self.done < self.total:
            parts.append(f"ETA {int(eta_s) // 60}:{int(eta_s) % 60:02d}")
        return "  ".join(parts)


def stage_states(
    runs: Sequence[RunConfig], costs: Mapping[str, float], store: RunStore, finished: FinishedRuns
) -> list[StageState]:
    """Every stage of the runs, read from markers and the lanes' progress files."""
    lanes = read_progress(store.out)
    steps: dict[str, list[int]] = {
        key: value for lane in lanes for key, value in lane.get("runs", {}).items()
    }
    states = []
    for stage in sorted(set(map(stage_of, runs))):
        keys = [run.key for run in runs if stage_of(run) == stage]
        total = sum(costs[key] for key in keys)
        ended = {key for key in keys if key in finished}
        made = sum(costs[key] * (1.0 if key in ended else _share(steps.get(key))) for key in keys)
        active = [lane for lane in lanes if lane.get("stage") == stage]
        losses = [lane["loss"] for lane in active if lane["loss"] is not None]
        states.append(
            StageState(
                stage=stage,
                done=len(ended),
                total=len(keys),
                share=made / total,
                steps_per_s=sum(lane["steps_per_s"] for lane in active),
                loss=sum(losses) / len(losses) if losses else None,
                active=bool(active),
            )
        )
    return states


class ProgressLine:
    """Shows the stages of `runs` from a thread of its own, between `with` and its end.

    `costs` are theirs by key, in any unit; `finished` are keys of runs that have ended already; `names` are
    those of stages that are called otherwise than in a study.
    """

    def __init__(
        self,
        runs: Sequence[RunConfig],
        costs: Mapping[str, float],
        store: RunStore,
        console: Console,
        *,
        finished: Sequence[str] = (),
        names: Mapping[int, str] | None = None,
    ) -> None:
        self._console = console
        self._look = partial(stage_states, runs, costs, store, FinishedRuns(store, finished))
        self._names = stage_names(map(stage_of, runs)) | dict(names or {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="portal-progress", daemon=True)
        self._first: dict[int, tuple[float, float]] = {}  # by stage: time and share when first seen moving

    def __enter__(self) -> "ProgressLine":
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        if self._console.is_terminal:
            self._follow_live()
        else:
            self._follow_plain()

    def _follow_live(self) -> None:
        columns = (
            TextColumn("{task.description}", justify="right"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
        )
        with Progress(
            *columns,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as progress:
            tasks: dict[int, Any] = {}
            while True:
                last = self._stop.is_set()
                for state in self._look():
                    if state.stage not in tasks:
                        name = self._names[state.stage]
                        tasks[state.stage] = progress.add_task(name, total=1.0, text="")
                    text = state.text(self._eta_s(state))
                    progress.update(tasks[state.stage], completed=state.share, text=text)
                if last:
                    return
                self._stop.wait(REFRESH_S)

    def _follow_plain(self) -> None:
        shown: dict[int, tuple[int, float]] = {}
        while True:
            last = self._stop.is_set()
            now = time.monotonic()
            for state in self._look():
                done, at = shown.get(state.stage, (-1, 0.0))
                ended = state.done == state.total and done != state.done
                begins = state.active and state.stage not in shown
                moving = state.steps_per_s or state.done > max(done, 0)
                if ended or begins or (moving and (now - at >= PLAIN_S or last)):
                    self._console.print(f"{self._names[state.stage]}: {state.text(self._eta_s(state))}")
                    shown[state.stage] = (state.done, now)
            if last:
                return
            self._stop.wait(REFRESH_S if shown else BEGIN_S)

    def _eta_s(self, state: StageState) -> float | None:
        now = time.monotonic()
        if state.stage not in self._first:
            if not state.steps_per_s:
                return None
            self._first[state.stage] = (now, state.share)
        since, share = self._first[state.stage]
        gained = state.share - share
        return (1.0 - state.share) * (now - since) / gained if gained > 0.01 else None


def _share(steps: list[int] | None) -> float:
    return steps[0] / steps[1] if steps and steps[1] else 0.0


_STDOUT, _STDERR = 1, 2


@contextmanager
def streams_to(log: Path, console: Console) -> Iterator[None]:
    """Standard output and error of this process, and of those it starts, are appended to `log` in the block.

    `console` still writes to where it wrote before.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    saved = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    own, number = console.file, None
    with suppress(AttributeError, OSError, ValueError):  # a stream without a descriptor
        number = own.fileno()
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        for stream in saved:
            os.dup2(file.fileno(), stream)
    if number in saved:
        console.file = os.fdopen(os.dup(saved[number]), "w", buffering=1)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in saved.items():
            os.dup2(copy, stream)
            os.close(copy)
        if number in saved:
            console.file.close()
            console.file = own


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
    before = {number: signal.signal(number, signal.default_int_handler) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
