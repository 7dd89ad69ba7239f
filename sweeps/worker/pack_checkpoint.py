"""`PackCheckpoint`: the state of a pack on disk. `CheckpointWriter`: writes it in a thread beside training.

All learners of a pack are saved at the same step: resumed, they meet the same companions as in an unbroken
run, which on a GPU has a part in their rounding. Scores of finished epochs are part files, written before the
checkpoint that counts them.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from portal.artifacts.model_card import RunRecord
from portal.bases.sites import coverage_note
from portal.device import copy_to_host, device_name, peak_memory_bytes
from portal.evaluate.written import AnswerJournal
from portal.learners.base import Learner
from portal.results import (
    GENERATIONS_FILE,
    LATENTS_FILE,
    LOSSES_FILE,
    PREDICTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    RUN_TABLES,
    read_table,
    write_table,
)
from portal.storage.atomic import new_folder, remove_folder, remove_leftovers
from portal.storage.checkpoint import below, load_latest, save_checkpoint
from portal.storage.paths import Folder
from portal.training.pack import Evaluation
from portal.training.result_rows import latent_table, loss_table, mark_kept
from sweeps.store.run_store import ANSWERS, PARTS, STATE, UNFINISHED, Circumstances, PackStore, RunStore

_log = logging.getLogger(__name__)


class PackCheckpoint:
    """The saved state of the pack `key`, and the run folders that its runs end in."""

    def __init__(self, run_store: RunStore, pack_store: PackStore, key: str) -> None:
        self._run_store = run_store
        self._folder = pack_store.pack_folder(key)
        self.writer = CheckpointWriter(self._folder / STATE)
        self._sequence = 0
        self._parts: dict[str, int] = {}
        self._others: dict[str, tuple[dict[str, Tensor], dict[str, Any], int]] = {}  # whose turn comes later

    def restore(self, learners: list[Learner]) -> dict[str, int]:
        """Bring the learners to the newest whole checkpoint; those not in it stay as they are.

        Unfinished runs that are saved but not among these stay in every later checkpoint. Returns the most
        tokens of a forward, by base, at that time.
        """
        checkpoint = load_latest(self._folder / STATE)
        if checkpoint is None:
            return {}
        self._sequence = checkpoint.sequence
        by_key = {learner.key: learner for learner in learners}
        for key, meta in checkpoint.meta["runs"].items():
            tensors, count = below(checkpoint.tensors, f"{key}/"), checkpoint.meta["parts"].get(key, 0)
            if key in by_key:
                by_key[key].restore(tensors, meta)
                self._parts[key] = count
            elif self._run_store.keeps_state(key):
                self._others[key] = tensors, meta, count
        max_tokens: dict[str, int] = checkpoint.meta["max_tokens"]
        return max_tokens

    @contextmanager
    def writing(self) -> Iterator[None]:
        """At the end of the block the checkpoint that was started last is written, whatever ended the block.

        What goes wrong in writing is raised here, unless the block has an error of its own.
        """
        try:
            yield
        except BaseException:
            if (error := self.writer.failure()) is not None:
                _log.warning("the last checkpoint of this pack is not written: %s", error)
            raise
        self.writer.wait()

    def journal(self, check_permit: Callable[[], None]) -> AnswerJournal:
        """Where evaluations of the pack keep the answers that they have so far."""
        return AnswerJournal(self._folder / ANSWERS, check_permit)

    def save(
        self,
        learners: list[Learner],
        max_tokens: Mapping[str, int],
        check_permit: Callable[[], None],
        *,
        wait: bool = True,
    ) -> None:
        """Write one checkpoint of all `learners` and the scores so far; `wait` until it is on the disk.

        Without waiting it is written as the learners are now. `check_permit` is called just before it becomes
        visible, from the thread that writes, and raises if this worker lost its lease or its claim.
        """
        saved = dict(self._others)
        for learner in learners:
            key = learner.key
            saved[key] = *learner.state(), self._parts.get(key, 0)
        tensors = {f"{key}/{name}": t for key, (own, _, _) in saved.items() for name, t in own.items()}
        meta = {
            "runs": {key: meta for key, (_, meta, _) in saved.items()},
            "parts": {key: count for key, (_, _, count) in saved.items()},
            "max_tokens": dict(max_tokens),
        }
        self._sequence += 1
        self.writer.start(self._sequence, tensors, meta, check_permit)
        if wait:
            self.writer.wait()

    def set_aside(self, learner: Learner) -> None:
        """Keep the learner, which takes no more steps here, in every later checkpoint as it is now."""
        self._others[learner.key] = *learner.state(), self._parts.get(learner.key, 0)

    def add(self, key: str, evaluation: Evaluation) -> None:
        """Write the scores of one evaluation; they count from the next checkpoint on."""
        results = pa.Table.from_pylist([{"study": "", **row} for row in evaluation.results], schema=RESULTS)
        number = self._parts.get(key, 0)
        write_table(results, self._part(key, number, RESULTS_FILE))
        write_table(evaluation.predictions, self._part(key, number, PREDICTIONS_FILE))
        if evaluation.generations is not None:
            write_table(evaluation.generations, self._part(key, number, GENERATIONS_FILE))
        self._parts[key] = number + 1

    def leave_losses(self, learner: Learner) -> None:
        """Write the losses of its steps into the run's folder, whatever ends it."""
        losses = loss_table(learner)
        if losses.num_rows > 0:
            write_table(losses, self._run_store.run_folder(learner.key) / LOSSES_FILE)

    def finish(self, learner: Learner, check_permit: Callable[[], None], *, log: str) -> None:
        """Write the run's tables, then its artifact, whose cards cite their scores, then its marker.

        `check_permit` is called just before the marker, and raises when this worker may not commit. `log` is
        the name of this worker's log file.
        """
        key = learner.key
        folder = self._run_store.run_folder(key)
        epochs = learner.restore_kept()
        results = mark_kept(self._joined(key, RESULTS_FILE), epochs)
        write_table(results, folder / RESULTS_FILE)
        write_table(self._joined(key, PREDICTIONS_FILE), folder / PREDICTIONS_FILE)
        if learner.run.data.answers:
            write_table(self._joined(key, GENERATIONS_FILE), folder / GENERATIONS_FILE)
        latents = latent_table(learner)
        if latents.num_rows > 0:
            write_table(latents, folder / LATENTS_FILE)
        self.leave_losses(learner)
        remove_leftovers(folder)
        record = RunRecord(
            key,
            learner.run.model_dump(mode="json"),
            results.to_pylist(),
            versions=self._run_store.provenance(key)["versions"],
            epochs=epochs,
        )
        with new_folder(folder / "artifact") as artifact:
            learner.save_artifact(artifact, record)
        self._run_store.note_circumstances(key, _circumstances(learner, log))
        check_permit()
        self._run_store.mark_done(key)

    def clear(self) -> None:
        """Drop checkpoints, parts and answers: every run of the pack is finished, and none is paused."""
        for name in UNFINISHED:
            remove_folder(self._folder / name)

    def _joined(self, key: str, name: str) -> pa.Table:
        """All rows of the run so far, of one of its tables."""
        schema = RUN_TABLES[name]
        parts = [read_table(self._part(key, each, name), schema) for each in range(self._parts.get(key, 0))]
        return pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()

    def _part(self, key: str, number: int, name: str) -> Folder:
        return self._folder / PARTS / key / f"{number:06d}.{name}"


def _circumstances(learner: Learner, log: str) -> Circumstances:
    """This process's, as the run ends in it."""
    adapter, bases = learner.run.adapter, learner.bases
    notes = (
        coverage_note(name, base, adapter.modules) for name, base in bases.items() if adapter is not None
    )
    return Circumstances(
        threads=torch.get_num_threads(),
        operations=tuple(sorted({base.operations for base in bases.values() if base.device.type != "meta"})),
        coverage=tuple(note for note in notes if note is not None),
        peak_bytes=peak_memory_bytes(learner.device),
        log=log,
        device=device_name(learner.device),
    )


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
