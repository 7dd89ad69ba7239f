"""`SingleRun`: one run without a study file: joint training, an artifact's port, or new tasks for it.

`run_local` finishes such runs in this process, without Ray; `training_fits` tells whether new tasks seem
within the reach of a frozen core.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import WEIGHTS
from portal.bases.base import Base, load_base, outline_base
from portal.bases.files import resolve
from portal.config import Activations, Method, Precision, PrecisionChoice, RunConfig, paper_hidden
from portal.data.suites import Suite, examples_hash
from portal.data.token_cache import read_cache
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import guess_left, score_rows
from portal.forward.adapter_hooks import adapted
from portal.learners.schedule import DataOrder
from portal.messages import counted, validated
from portal.methods import DESCRIBED, NEAREST_LATENT, find_method
from portal.modules import ALL_MODULES
from portal.recipes import find_recipe
from portal.storage.atomic import replace_link
from portal.storage.paths import Folder, file_sha256
from portal.tasks.example import SPLITS, Descriptions
from portal.text.encoder import check_library, find_encoder
from portal.train_config import LatentStart
from sweeps.launch.executors import refusing_here
from sweeps.launch.terminal import ProgressLine, termination_interrupts
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.checks import check_metrics, check_shapes, count_rows
from sweeps.store.lease import acquire
from sweeps.store.output_folder import check_writable, keep_precisions
from sweeps.store.run_store import PackStore, RunStore, pack_key
from sweeps.store.session import clear_session_files
from sweeps.study.context import resolve_precisions
from sweeps.study.expand import stage_of
from sweeps.worker.build_learners import BASES
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.lane import lane_log, run_lane

ARTIFACT = "artifact"
"""The name of the link in the output folder, and of the folder of the run that it points to."""
_LAST = {"evaluate": "last_epoch"}
_TEACHING = {"epochs": 4, "rounds_per_epoch": 50, "evaluate": "every_epoch", "keep": "best_validation"}


@dataclass(frozen=True)
class TrainRequest:
    """Settings that joint training and a port share; those that are None are the recipe's.

    Precision `auto` is resolved for the device, or is what `out` has kept, where the run is to be.
    """

    suite: Suite
    tasks: tuple[str, ...]
    recipe: str = "paper"
    examples: int | None = None
    epochs: int | None = None
    seed: int = 0
    precision: PrecisionChoice = "default"
    device: str = "cpu"
    out: Path | None = None


@dataclass(frozen=True)
class SingleRun:
    """A run's whole, checked config, its suite, and by digest the artifacts that it starts from."""

    config: RunConfig
    request: TrainRequest
    sources: Mapping[str, Path] = field(default_factory=dict)

    @property
    def suite(self) -> Suite:
        return self.request.suite

    @property
    def auto_precisions(self) -> dict[str, Precision]:
        """By base what precision `auto` stands for; nothing where another was asked for."""
        if self.request.precision != "auto":
            return {}
        return {ref.name: ref.precision for ref in self.config.bases}

    @property
    def frozen_bases(self) -> tuple[RunConfig, ...]:
        """Runs that score each frozen base on the same rows."""
        data = self.config.data.undescribed().model_copy(update={"size": None})
        return tuple(RunConfig(method="base", bases=(ref,), data=data) for ref in self.config.bases)


def source_run(
    bases: Sequence[str],
    request: TrainRequest,
    *,
    modules: tuple[str, ...] = ALL_MODULES,
    rank: int = 16,
    text_encoder: str | None = None,
) -> SingleRun:
    """Joint training of latents, core and converters on `bases`; ValueError for what would make it fail.

    With a text encoder, latents also come from the tasks' descriptions, so that new ones can be described.
    """
    parts: dict[str, Any] = {
        "adapter": {"modules": modules, "rank": rank, "alpha": max(1, 2 * rank)},
        "hypernet": {"hidden": paper_hidden(modules)},
    }
    descriptions = None
    if text_encoder is not None:
        encoder = find_encoder(text_encoder)
        check_library()
        parts["text"] = {"encoder": encoder.name, "encoder_sha256": encoder.sha256}
        known = request.suite.described(request.tasks)
        descriptions = {task: each.phrasings for task, each in known.items()}
    return _single_run("source", bases, request, parts, descriptions=descriptions)


def port_run(artifact: str | Path, base: str, request: TrainRequest) -> SingleRun:
    """The artifact's refit on another base; ValueError for what would make it fail."""
    source = Artifact.load(artifact)
    for task in request.tasks:
        source.task_index(task)
    return _single_run("portal", (base,), request, _parts_of(source), folder=source.folder)


def teach_run(
    artifact: str | Path,
    base: str,
    request: TrainRequest,
    *,
    start: LatentStart = "mean",
    description: str | None = None,
) -> SingleRun:
    """Latents of new tasks on the artifact's own base; ValueError for what would make it fail.

    They start at the mean of the artifact's latents, each at the one that fits its rows best, or at what its
    description stands for. They stay there with 0 examples, which are for descriptions, and with 0 epochs,
    for start nearest. `description` takes the place of a single task's own. Validation rows are scored after
    every 50 steps, and each task keeps what they prefer; where a task has none, all keep what the last step
    leaves.
    """
    source = Artifact.load(artifact)
    for task in request.tasks:
        if task in source.config.tasks:
            raise ValueError(
                f"{source.folder}: the artifact has task {task!r} already; give the new task another name"
            )
    chooses = all(request.suite.examples(task, "validation") for task in request.tasks)
    chosen = {} if chooses else {**_LAST, "keep": "last"}
    method, train = "taught", {**_TEACHING, **chosen, "latent_start": start}
    if request.examples == 0:
        method, train = DESCRIBED.name, {}
    elif request.epochs == 0:
        if start != "nearest":
            raise ValueError("0 epochs train nothing: they go with start nearest")
        method, train = NEAREST_LATENT.name, {}
    descriptions = None
    if request.examples == 0 and (start == "nearest" or request.epochs is not None):
        raise ValueError("0 examples train nothing: they go with neither start nearest nor epochs")
    if description is not None and request.examples != 0 and start != "description":
        raise ValueError(f"a description is for start 'description' or 0 examples, not for start {start!r}")
    if start == "description" or request.examples == 0:
        source.find_encoder()
        known = _described(request.suite, request.tasks, description)
        descriptions = {task: each.unseen for task, each in known.items()}
    needed = () if request.examples == 0 else ("train",)
    single = _single_run(
        method, (base,), request, _parts_of(source), train, descriptions, needed, folder=source.folder
    )
    source.check_base(outline_base(base, revision=single.config.bases[0].revision))
    return single


def _described(suite: Suite, tasks: Sequence[str], description: str | None) -> dict[str, Descriptions]:
    """What is said of each task, or the `description` of a single one; ValueError where there is none."""
    if description is None:
        return suite.described(tasks)
    if not description.strip():
        raise ValueError("the description is empty")
    if len(tasks) != 1:
        raise ValueError(f"one description is given for {len(tasks)} tasks; describe each in its task file")
    return {tasks[0]: Descriptions((description,))}


def _parts_of(source: Artifact) -> dict[str, Any]:
    """What a run that starts from the artifact has of it."""
    return {
        "adapter": source.config.adapter.model_dump(),
        "hypernet": source.config.hypernet.model_dump(),
        "source": file_sha256(source.folder / WEIGHTS)[:16],  # as long as a run's key
        "source_bases": (source.config.base_model_name_or_path,),
    }


def _single_run(
    method: Method,
    bases: Sequence[str],
    request: TrainRequest,
    parts: Mapping[str, Any],
    train: Mapping[str, Any] = _LAST,
    descriptions: Mapping[str, tuple[str, ...]] | None = None,
    splits: Sequence[str] = SPLITS,
    *,
    folder: Path | None = None,
) -> SingleRun:
    """The run with its whole config: bases pinned, data hashed, the rank inside every width.

    `folder` holds the artifact that it starts from. ValueError for a task without rows in one of `splits`.
    """
    recipe, suite, tasks = find_recipe(request.recipe), request.suite, request.tasks
    given = {} if request.epochs is None else {"epochs": request.epochs}
    count_rows(suite, tasks, splits)
    precisions = resolve_precisions(request.precision, bases, device=request.device, out=request.out)
    values = {
        **parts,
        "method": method,
        "bases": [resolve(base, precision=precisions[base]).model_dump() for base in bases],
        "seed": request.seed,
        "train": recipe.train(method) | dict(train) | given if find_method(method).trains else None,
        "data": {
            "suite": suite.name,
            "tasks": tasks,
            "prompt_set": suite.prompt_set,
            "files": {task: suite.files[task] for task in tasks if task in suite.files},
            "size": recipe.size(method) if request.examples is None else request.examples,
            "descriptions": descriptions or {},
            "answers": {task: each.model_dump() for task, each in suite.answers_of(tasks).items()},
            "data_hash": examples_hash(suite, tasks),
        },
    }
    run = validated(RunConfig, values)
    check_shapes([run])
    return SingleRun(run, request, {} if folder is None else {parts["source"]: folder})


def check_place(out: Path) -> None:
    """ValueError when `out/artifact` is something else than the link of an earlier run."""
    place = out / ARTIFACT
    if place.exists() and not place.is_symlink():
        raise ValueError(f"{place}: not a link of an earlier run; choose another --out")


def finish_run(
    single: SingleRun,
    out: Path,
    console: Console | None = None,
    *,
    device: str = "cpu",
    gpus: int = 1,
    threads: int = 1,
    activations: Activations = "keep",
) -> Path:
    """Finish the run in `out` and link its artifact as `out/artifact`, which is returned.

    An interrupted run continues. Without a console it works in silence. ValueError with the cause when the
    run fails.
    """
    check_place(out)
    check_writable(out)
    keep_precisions(out, single.auto_precisions)
    run_local(
        [single.config],
        single.suite,
        out,
        console or Console(quiet=True),
        sources=single.sources,
        names={stage_of(single.config): "teach"} if find_method(single.config.method).teaches else None,
        device=device,
        gpus=gpus,
        threads=threads,
        activations=activations,
    )
    place, artifact = out / ARTIFACT, RunStore(out).run_folder(single.config.key) / ARTIFACT
    assert isinstance(artifact, Path)
    replace_link(place, artifact)
    return place


def score_frozen_bases(
    single: SingleRun, out: Path, console: Console, *, device: str, threads: int, gpus: int = 1
) -> None:
    """Score each frozen base on the rows of the run, as runs of their own in `out`, each only once."""
    for run in single.frozen_bases:
        if not RunStore(out).is_done(run.key):
            console.print(f"scoring the frozen base {run.bases[0].name} on the same rows")
            run_local(
                [run], single.suite, out, Console(quiet=True), device=device, gpus=gpus, threads=threads
            )


def run_local(
    runs: Sequence[RunConfig],
    suite: Suite,
    out: Path,
    console: Console,
    *,
    sources: Mapping[str, Path] | None = None,
    names: Mapping[int, str] | None = None,
    device: str = "cpu",
    gpus: int = 1,
    threads: int = 1,
    activations: Activations = "keep",
) -> None:
    """Finish `runs`, which share their bases and their data of `suite`, in `out/runs/<key>`.

    What was interrupted continues. `sources` are artifacts made elsewhere, by the digest that a port's config
    names, `names` those of stages that are called otherwise than in a study. On a GPU each base is divided
    over so many `gpus`. ValueError with the cause when a run fails.
    """
    check_writable(out)
    store = RunStore(out)
    left = [run for run in runs if not store.is_done(run.key)]
    if not left:
        return
    check_metrics(left, refusing_here)
    started = time.monotonic()
    with acquire(out) as lease, termination_interrupts():
        clear_session_files(out)
        rows = prepare_rows(suite, left[0].data, [ref.name for ref in left[0].bases], out)
        for run in left:
            store.write_run(run)
            if (failure := store.failure(run.key)) and failure.asked:  # the same command lets it go on
                store.forget_failed([run.key])
        keys = tuple(run.key for run in left)
        PackStore(out).record_pack(pack_key(keys), keys)
        needs = tuple(key for run in left for key in run.parent_keys)
        job = LaneJob(
            out=str(out),
            token=lease.token,
            lane=0,
            packs=(PackJob(pack_key(keys), stage_of(left[0]), keys, needs, tuple(rows)),),
            rows={base: str(folder) for base, folder in rows.items()},
            sources={digest: str(folder) for digest, folder in (sources or {}).items()},
            device=device,
            gpus_per_worker=gpus,
            threads=threads,
            activations=activations,
        )
        progress = ProgressLine(left, dict.fromkeys(keys, 1.0), store, console, names=names)
        with progress, lane_log(job.log_path()):
            run_lane(job, lambda packs: None)
    for run in left:
        failure = store.failure(run.key)
        if failure is not None:
            raise ValueError(failure.cause)
    console.print(f"{counted(len(left), 'run')} in {time.monotonic() - started:.0f} s")


REACH = 0.5
"""What may be left of a guess's uncertainty on training rows: docs/results/village-settings has why."""
MIN_ROWS = 8
"""Fewer rows are fitted by some latent whatever the task is, so nothing follows from them."""
_MOST_ROWS = 64
"""More of a task's rows change its fit by little."""


@dataclass(frozen=True)
class TrainingFit:
    """What a taught latent leaves of a guess's uncertainty on the rows that it was fitted to."""

    task: str
    num_rows: int
    left: float

    @property
    def within_reach(self) -> bool:
        """Whether the core can express the task, as it seems."""
        return self.left <= REACH


def training_fits(single: SingleRun, out: Path, *, device: str, gpus: int = 1) -> Sequence[TrainingFit]:
    """The fit of the new tasks with `MIN_ROWS` rows or more, of a finished run of `teach_run` in `out`.

    Tasks with written answers have none: nobody guesses among choices there.
    """
    run = single.config
    (ref,) = run.bases
    enough = telling_rows(run, prepare_rows(single.suite, run.data, [ref.name], out)[ref.name])
    if not enough:
        return []
    base = BASES.loaded(ref, device) or load_base(
        ref.name, device=device, revision=ref.revision, precision=ref.precision, num_gpus=gpus
    )
    return fit_tasks(base, Artifact.load(out / ARTIFACT), enough)


def telling_rows(run: RunConfig, tokens: Folder) -> dict[str, Sequence[TokenRow]]:
    """By task the rows that a run on one base was fitted to, of the token cache in `tokens`.

    At most 64 a task; tasks with fewer than `MIN_ROWS`, or with written answers, are left out.
    """
    (ref,) = run.bases
    by_task = DataOrder(run, {ref.name: read_cache(tokens)}).first_rows(ref.name, _MOST_ROWS)
    return {
        task: rows for task, rows in by_task.items() if len(rows) >= MIN_ROWS and task not in run.data.answers
    }


def fit_tasks(
    base: Base, artifact: Artifact, rows_by_task: Mapping[str, Sequence[TokenRow]]
) -> list[TrainingFit]:
    """How well the artifact's adapters fit these rows of its tasks."""
    fits = []
    for task, rows in rows_by_task.items():
        with adapted(base, artifact.factors((task,)), artifact.config.adapter.scaling):
            fits.append(TrainingFit(task, len(rows), guess_left(score_rows(base, rows))))
    return fits
