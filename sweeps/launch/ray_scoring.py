"""Many PEFT adapters on one base: scored here, or by a Ray Data job whose actors each hold the base once."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
from ray.data import ActorPoolStrategy, DataContext
from rich.console import Console

from portal.answers import AnswerConfig
from portal.bases.base import Base, load_base
from portal.config import BaseRef
from portal.data.token_rows import TokenRow, rows_to_table, table_to_rows
from portal.device import is_out_of_memory
from portal.evaluate.loglikelihood import TaskMetrics
from portal.evaluate.tasks import score_adapter
from portal.messages import one_line
from sweeps.launch.executors import Wanted
from sweeps.launch.lane_layout import WORKER_CPUS
from sweeps.launch.ray_session import ray_session


def score_with_workers(
    folders: Sequence[Path],
    ref: BaseRef,
    rows: Mapping[str, Sequence[TokenRow]],
    answers: Mapping[str, AnswerConfig],
    *,
    device: str,
    wanted: Wanted,
    workers: int | None,
    console: Console,
    gpus_per_worker: int = 1,
) -> list[dict[str, TaskMetrics]]:
    """Metrics by task for every adapter, in their order; how many are scored is printed to the console.

    One worker is this process, on `device`. Several are actors on the `wanted` devices of the cluster of
    RAY_ADDRESS, or of a local Ray; None stands for one per GPU there, or per so many as the base is divided
    over.
    """

    def tell(count: int) -> None:
        console.print(f"{count} of {len(folders)} adapters scored")

    gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
    if (workers or max(1, gpus // gpus_per_worker)) == 1 and not os.environ.get("RAY_ADDRESS"):
        base, scored = _load(ref, device, gpus_per_worker), []
        for folder in folders:
            scored.append(score_adapter(base, folder, rows, answers))
            tell(len(scored))
        return scored
    if Path(ref.name).is_dir():  # actors work in folders of their own
        ref = ref.model_copy(update={"name": str(Path(ref.name).resolve())})
    with (
        tempfile.TemporaryDirectory(prefix="portal-") as scratch,
        ray_session(Path(scratch), console, wanted) as found,
    ):
        count = workers or min(len(folders), sum(found.shared(float(gpus_per_worker)).nodes))
        table = rows_to_table([row for own in rows.values() for row in own])
        arguments = (ref, found.device, gpus_per_worker, tuple(rows), answers, ray.put(table))
        return _score_by_actors(folders, arguments, count, tell)


def _score_by_actors(
    folders: Sequence[Path], arguments: tuple[Any, ...], workers: int, tell: Callable[[int], None]
) -> list[dict[str, TaskMetrics]]:
    """Metrics by task for every adapter, by so many actors of these arguments on the running Ray.

    ValueError, naming the adapter, for one that is another base's or damaged.
    """
    _, device, gpus, *_ = arguments
    DataContext.get_current().enable_progress_bars = False
    items = [{"index": index, "folder": str(folder.resolve())} for index, folder in enumerate(folders)]
    scored = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map_batches(
            _Scorer,
            fn_constructor_args=arguments,
            batch_size=1,
            compute=ActorPoolStrategy(size=workers),
            num_cpus=WORKER_CPUS,
            num_gpus=float(gpus * device.startswith("cuda")),
        )
        .iter_rows()
    )
    found: dict[int, dict[str, TaskMetrics]] = {}
    for row in scored:
        if row["error"]:
            raise ValueError(row["error"])
        summaries = json.loads(row["summaries"])
        found[row["index"]] = {task: TaskMetrics(**values) for task, values in summaries.items()}
        tell(len(found))
    return [found[index] for index in range(len(folders))]


class _Scorer:
    """An actor: the base, loaded with the first adapter, and the rows of every task."""

    def __init__(
        self,
        ref: BaseRef,
        device: str,
        gpus: int,
        tasks: tuple[str, ...],
        answers: Mapping[str, AnswerConfig],
        table: Any,
    ) -> None:
        self._base: Base | None = None
        self._answers = answers
        self._place = ref, device, gpus
        rows = table_to_rows(ray.get(table))
        self._rows = {task: [row for row in rows if row.task == task] for task in tasks}

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        summaries, errors = [], []
        for folder in batch["folder"]:
            try:
                found = score_adapter(self._loaded(), Path(str(folder)), self._rows, self._answers)
            except (ValueError, OSError) as error:
                found, message = {}, str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                found, message = {}, f"{folder}: out of memory: {one_line(error)}"
            else:
                message = ""
            summaries.append(json.dumps({task: asdict(summary) for task, summary in found.items()}))
            errors.append(message)
        return {"index": list(batch["index"]), "summaries": summaries, "error": errors}

    def _loaded(self) -> Base:
        if self._base is None:
            self._base = _load(*self._place)
        return self._base


def _load(ref: BaseRef, device: str, gpus: int) -> Base:
    return load_base(ref.name, device=device, revision=ref.revision, precision=ref.precision, num_gpus=gpus)
