"""Search of a method's settings with Optuna: TPE proposes, ASHA stops what falls behind, packs train.

A search file is a study file with a section `search`. Trials are studies in one output folder, so what two of
them share is trained once, and a search that was broken off goes on: Optuna's own storage (SQLite, which
optuna-dashboard opens) holds the trials, run folders hold what they trained. Test rows have no part in it.
"""

import copy
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from pydantic import Field, field_validator, model_validator
from rich.console import Console

from portal.config import AdapterConfig, HypernetConfig
from portal.frozen import Frozen
from portal.importance import ImportanceError, importance_of
from portal.messages import nearest, refusal, validated
from portal.search_record import SEARCH_FILE, Importance, SearchRecord, SearchTrial
from portal.storage.atomic import write_bytes_atomic
from portal.storage.records import read_yaml
from portal.tasks.task_file import is_task_file
from portal.train_config import TrainConfig
from sweeps.launch.driver import run_study
from sweeps.launch.executors import ExecutorName, Wanted, find_executor
from sweeps.launch.terminal import termination_interrupts
from sweeps.planning.checks import check_shapes
from sweeps.results.live import validation_values
from sweeps.sinks.alerts import AlertDesk, Alerts
from sweeps.store.lease import acquire
from sweeps.store.output_folder import SEARCH_FOLDER
from sweeps.store.run_store import RunStore
from sweeps.store.session import request_stop
from sweeps.study.context import StudyContext
from sweeps.study.expand import Study, expand, stage_of
from sweeps.study.study_file import StudyFile, check_names, faults_of

Scalar = bool | int | float | str
_FIELDS: dict[str, type[Frozen]] = {
    "adapter": AdapterConfig,
    "hypernet": HypernetConfig,
    "train": TrainConfig,
}


class Range(Frozen):
    """Numbers from `low` to `high`, both included; whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range is above 0 and has no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} is not above 0")
        if self.is_whole and not isinstance(self.step, int | None):
            raise ValueError(f"whole numbers have a whole step, not {self.step}")
        return self

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


class Pruning(Frozen):
    """ASHA (Li et al. 2018): of the trials that reach a rung, one in `factor` goes on to the next."""

    min_epochs: int = Field(default=1, ge=1)
    factor: int = Field(default=3, ge=2)


class Search(Frozen):
    """The settings to search. `space` maps `METHOD.PART.FIELD` or `METHOD.size` to a range or a list.

    A trial's value is the mean of `metric` on the validation slice at the last epoch, over calibrated tasks,
    targets, seeds and sizes of `method`.
    """

    method: str
    space: dict[str, Range | tuple[Any, ...]] = Field(min_length=1)
    trials: int = Field(default=32, ge=1)
    parallel: int = Field(default=8, ge=1)
    metric: Literal["score", "acc_norm", "acc", "log_loss"] = "score"
    prune: Pruning | None = Pruning()
    seed: int = Field(default=0, ge=0)

    @field_validator("space")
    @classmethod
    def _choices_are_there(cls, space: dict[str, Any]) -> dict[str, Any]:
        for key, values in space.items():
            if isinstance(values, tuple) and len({json.dumps(value) for value in values}) < 2:
                raise ValueError(f"{key}: a list of at least two different values, or a range")
        return space

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self.metric == "log_loss" else "maximize"


class SearchFile(StudyFile):
    """The content of a search file."""

    search: Search


class SearchPlan:
    """A search file, checked: the studies that its trials are.

    ValueError for a method, part or value that the study cannot have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = read_yaml(path)
        with faults_of(path, SearchFile):
            settings = SearchFile.model_validate(self._content)
            check_names(settings)
        self.name, self.search = settings.name, settings.search
        self._chain = self._check_method(settings)
        for key in self.search.space:
            self._check_key(key, settings)

    def identity(self) -> str:
        """The identity of the trials, as JSON: the whole file but their number."""
        content = copy.deepcopy(self._content)
        for free in ("trials", "parallel"):
            content["search"].pop(free, None)
        return json.dumps(content, sort_keys=True)

    def trial(self, values: Mapping[str, Any]) -> StudyFile:
        """The study of a trial: the searched method and what it starts from, with these values."""
        content = self._with(values)
        content["methods"] = {label: content["methods"][label] for label in self._chain}
        return self._validated(content)

    def study(self, values: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The whole study with these values, as the content of a study file."""
        content = {**self._with(values), "name": name}
        self._validated(content)
        return content

    def _with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The file's content without the search, with these values, and with whole paths of its own files."""
        content = _from_anywhere(copy.deepcopy(self._content), self.path.parent)
        del content["search"]
        for key, value in values.items():
            label, *path = key.split(".")
            place = content["methods"][label] = content["methods"][label] or {}
            for part in path[:-1]:
                place[part] = place = place.get(part) or {}
            place[path[-1]] = value
        return content

    def _validated(self, content: dict[str, Any]) -> StudyFile:
        return validated(StudyFile, content, where=f"{self.path}: search.space: ")

    def _check_method(self, settings: SearchFile) -> tuple[str, ...]:
        """The labels whose settings a trial may change: the searched one and all that it starts from."""
        label = self.search.method
        if label not in settings.methods:
            raise ValueError(
                f"{self.path}: search.method: no method {label!r}{nearest(label, settings.methods)}"
            )
        spec = settings.spec(label)
        if not spec.trains:
            raise ValueError(f"{self.path}: search.method: method {spec.name!r} does not train")
        chain = [label]
        while settings.spec(chain[-1]).parents:
            chain.append(settings.source_label(chain[-1]))
        return tuple(chain)

    def _check_key(self, key: str, settings: SearchFile) -> None:
        where = f"{self.path}: search.space.{key}"
        label, *path = key.split(".")
        if label not in self._chain:
            raise ValueError(
                f"{where}: {label!r} has no part in {self.search.method!r}{nearest(label, self._chain)}"
            )
        parts = settings.spec(label).settings & {*_FIELDS, "size"}
        if not path or path[0] not in parts:
            raise ValueError(f"{where}: METHOD.PART.FIELD or METHOD.size, with PART one of {sorted(parts)}")
        if path[0] != "size":
            fields = _FIELDS[path[0]].model_fields
            if len(path) != 2 or path[1] not in fields:
                raise ValueError(f"{where}: no such setting{nearest('.'.join(path[1:]), fields)}")
        values = self.search.space[key]
        for value in self.extremes(key):
            self.trial({key: value})
        if isinstance(values, Range) and not values.is_whole:
            refused = refusal(partial(self.trial, {key: 1.5}))
            if refused is not None and "integer" in refused:
                raise ValueError(f"{where}: whole numbers: write its ends as such")

    def extremes(self, key: str) -> tuple[Any, ...]:
        """The values of a list, or a range's ends."""
        values = self.search.space[key]
        return (values.low, values.high) if isinstance(values, Range) else values


def _from_anywhere(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a study file in `folder`, with whole paths of task files and of the folder of rows.

    Paths of suites and bases stay as they are: they are part of a run's identity.
    """

    def whole(task: str) -> str:
        """A task file's path as `load_study` means it: from the study file's folder, else from here."""
        place = folder / task if (folder / task).is_file() else Path(task)
        return str(place.absolute()) if is_task_file(task) else task

    if isinstance(content.get("tasks"), list):
        content["tasks"] = [whole(task) for task in content["tasks"]]
    if content.get("data") is not None:
        content["data"] = str(Path(content["data"]).absolute())
    return content


WATCH_S = 1.0
BEST = "best.yaml"
_IDENTITY = "search"


@dataclass(frozen=True)
class SearchResult:
    """The search's record, its trials the best first, and where the best study and Optuna's storage are."""

    record: SearchRecord
    best: Path | None
    storage: str

    @property
    def trials(self) -> tuple[SearchTrial, ...]:
        return self.record.trials


class _Trial:
    """A trial in training."""

    def __init__(self, trial: optuna.Trial, plan: SearchPlan, context: StudyContext, store: RunStore) -> None:
        self.trial, self._store, self._metric = trial, store, plan.search.metric
        self.study = expand(plan.trial(decoded(plan, trial.params)), context)
        label = plan.search.method
        self.judged = [run for run in self.study.runs if self.study.labels[run.key] == label]
        self.epoch = 0
        self.value: float | None = None
        self.pruned = False

    def look(self) -> None:
        """Report the scores that are new to Optuna, and ask it whether the trial goes on."""
        for epoch, value in sorted(validation_values(self._store, self.judged, self._metric).items()):
            if epoch > self.epoch:
                self.epoch, self.value = epoch, value
                self.trial.report(value, epoch)
                self.pruned = self.pruned or self.trial.should_prune()

    @property
    def finished(self) -> bool:
        return all(self._store.is_done(run.key) for run in self.judged)

    @property
    def lost(self) -> bool:
        """Whether its workers were lost, or it is paused: it has neither ended nor failed, and can go on."""
        failures = [self._store.failure(run.key) for run in self.study.runs]
        goes_on = all(each is None or each.lost or each.asked == "pause" for each in failures)
        return not self.finished and not self.pruned and goes_on


def run_search(
    plan: SearchPlan,
    out: Path,
    *,
    executor: ExecutorName = "auto",
    console: Console | None = None,
    threads: int = 1,
    gpus: int = 0,
    alerts: Alerts | None = None,
) -> SearchResult:
    """Bring the search to its number of trials in `out`; without a console, in silence.

    A cluster is waited for until it has so many `gpus`. `alerts` tell of failures and lost workers of all
    trials, and how the search ended. ValueError when `out` holds another search, the record of
    its alerts is damaged, or another driver works there.
    """
    folder, console = out / SEARCH_FOLDER, console or Console(quiet=True)
    with acquire(folder) as lease:
        storage = f"sqlite:///{(folder / 'optuna.db').resolve()}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        search = _open(plan, storage, out)
        settings, store = plan.trial({}), RunStore(out)
        context = StudyContext.open(settings, out)
        _check_runs(plan, context)
        wanted = Wanted.of(settings.device, gpus)
        states = [trial.state for trial in search.get_trials(deepcopy=False)]
        has_work_left = len(states) < plan.search.trials or TrialState.RUNNING in states
        told = alerts if alerts is not None and has_work_left else Alerts()
        with (
            termination_interrupts(),
            AlertDesk(told, plan.name, out, lease.token, console, what="search", record=folder) as desk,
            find_executor(executor).open(out, console, wanted),  # one for all batches
        ):
            desk.outcome = lambda: _record(search, plan).counts
            while batch := _next_batch(search, plan, context, store):
                numbers = ", ".join(str(each.trial.number) for each in batch)
                console.print(f"search {plan.name}: trials {numbers} of {plan.search.trials}")
                study = _together([each.study for each in batch])
                with _watched(batch, store):
                    run_study(
                        study,
                        out,
                        executor=executor,
                        console=console,
                        threads=threads,
                        gpus=gpus,
                        alerts=desk,
                    )
                for each in batch:
                    _tell(search, each)
                _record(search, plan, unknown="the search has not ended").write(folder / SEARCH_FILE)
                if lost := [each for each in batch if each.lost]:
                    numbers = ", ".join(str(each.trial.number) for each in lost)
                    console.print(f"trials {numbers} lost their workers; the same command goes on with them")
                    break
        console.print(f"search {plan.name}: fitting random forests to see which setting mattered")
        return _outcome(search, plan, folder, storage)


def _check_runs(plan: SearchPlan, context: StudyContext) -> None:
    """ValueError for an adapter at an end of its range, or in its list, that does not fit its base, and for a
    metric that a task of the study has not, as written answers have no accuracy.
    """
    for key in plan.search.space:
        if ".adapter." in key:
            for value in plan.extremes(key):
                check_shapes(expand(plan.trial({key: value}), context).runs)
    written = list(context.suite.answers_of(context.tasks))
    if written and plan.search.metric in ("acc", "acc_norm"):
        raise ValueError(
            f"search.metric: task {written[0]!r} has written answers and no {plan.search.metric}; use score"
        )


def decoded(plan: SearchPlan, params: dict[str, Any]) -> dict[str, Any]:
    """Convert Optuna's parameters to study values; Optuna cannot store lists, so they are kept as JSON."""
    values = {}
    for key, value in params.items():
        choices = plan.search.space[key]
        by_code = {} if isinstance(choices, Range) else {_code(choice): choice for choice in choices}
        found = by_code.get(value, value)
        values[key] = list(found) if isinstance(found, tuple) else found
    return values


def _open(plan: SearchPlan, storage: str, out: Path) -> optuna.Study:
    search, prune = plan.search, plan.search.prune
    pruner = (
        optuna.pruners.NopPruner()
        if prune is None
        else optuna.pruners.SuccessiveHalvingPruner(
            min_resource=prune.min_epochs, reduction_factor=prune.factor
        )
    )
    found = optuna.create_study(
        study_name=plan.name, storage=storage, direction=search.direction, pruner=pruner, load_if_exists=True
    )
    known = found.user_attrs.setdefault(_IDENTITY, plan.identity())
    if known != plan.identity():
        raise ValueError(
            f"{out}: holds trials of {plan.name!r} with other settings; choose another --out or name"
        )
    found.set_user_attr(_IDENTITY, plan.identity())
    return found


def _next_batch(
    search: optuna.Study, plan: SearchPlan, context: StudyContext, store: RunStore
) -> list[_Trial]:
    """The next trials: those that a driver left unfinished, and new ones up to as many as run in parallel."""
    known = search.get_trials(deepcopy=False)
    left = [optuna.Trial(search, each._trial_id) for each in known if each.state == TrialState.RUNNING]
    count = min(plan.search.parallel, plan.search.trials - len(known) + len(left))
    sampler_seed = plan.search.seed * 1_000_003 + len(known)  # a new draw for every batch, the same each time
    search.sampler = optuna.samplers.TPESampler(seed=sampler_seed, constant_liar=True)
    space = {key: _distribution(values) for key, values in plan.search.space.items()}
    trials = left[:count]
    while len(trials) < count:
        trials.append(search.ask(space))
    return [_Trial(trial, plan, context, store) for trial in trials]


def _distribution(values: Range | Sequence[Any]) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution([_code(value) for value in values])
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log, step=int(values.step or 1))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _code(value: Any) -> Scalar | None:
    """The value as Optuna stores it: a list as JSON."""
    return value if value is None or isinstance(value, Scalar) else json.dumps(value)


def _together(studies: Sequence[Study]) -> Study:
    """One study of the runs of all these studies, each run once."""
    runs = {run.key: run for study in studies for run in study.runs}
    labels = {key: label for study in studies for key, label in study.labels.items()}
    return replace(studies[0], runs=tuple(sorted(runs.values(), key=stage_of)), labels=labels)


@contextmanager
def _watched(batch: Sequence[_Trial], store: RunStore) -> Iterator[None]:
    """Follow the trials from a thread during the block, and stop runs that only pruned trials have."""
    end = threading.Event()

    def follow() -> None:
        while not end.wait(WATCH_S):
            for each in batch:
                each.look()
            request_stop(store.out, _only_pruned(batch))

    thread = threading.Thread(target=follow, name="portal-search", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    for each in batch:
        each.look()


def _only_pruned(batch: Iterable[_Trial]) -> set[str]:
    """Keys of runs used only by pruned trials."""
    stopped = {run.key for each in batch if each.pruned for run in each.judged}
    return stopped - {run.key for each in batch if not each.pruned for run in each.study.runs}


def _tell(search: optuna.Study, each: _Trial) -> None:
    if each.lost:
        return
    if each.finished:
        search.tell(each.trial, each.value)
    elif each.pruned:
        search.tell(each.trial, state=TrialState.PRUNED)
    else:
        search.tell(each.trial, state=TrialState.FAIL)


def _outcome(search: optuna.Study, plan: SearchPlan, folder: Path, storage: str) -> SearchResult:
    """Write the record of the search, with the importance of its settings, and the best trial's study."""
    try:
        record = _record(search, plan, importance=importance_of(search.get_trials(deepcopy=False)))
    except ImportanceError as error:
        record = _record(search, plan, unknown=str(error))
    record.write(folder / SEARCH_FILE)
    best = None
    if record.complete:
        first, best = record.complete[0], folder / BEST
        content = plan.study(first.settings, f"{plan.name}-best")
        value = f"{plan.search.metric} {first.value:.4f} on validation rows"
        text = f"# Trial {first.number} of {plan.name}: {value}.\n{yaml.safe_dump(content, sort_keys=False)}"
        write_bytes_atomic(best, text.encode())
    return SearchResult(record, best, storage)


def _record(
    search: optuna.Study,
    plan: SearchPlan,
    *,
    importance: Mapping[str, Importance] | None = None,
    unknown: str | None = None,
) -> SearchRecord:
    """The search as it stands: complete trials from the best on, then those that got furthest."""
    trials = [
        SearchTrial(
            number=trial.number,
            state=trial.state.name.lower(),
            value=trial.value,
            epoch=max(trial.intermediate_values, default=None),
            settings=decoded(plan, trial.params),
        )
        for trial in search.get_trials(deepcopy=False)
    ]
    sign = -1 if plan.search.direction == "maximize" else 1

    def rank(trial: SearchTrial) -> tuple[bool, int, float]:
        return trial.state != "complete", -(trial.epoch or 0), sign * (trial.value or 0.0)

    space = plan.search.space.items()
    return SearchRecord(
        name=plan.name,
        method=plan.search.method,
        metric=plan.search.metric,
        direction=plan.search.direction,
        trials=tuple(sorted(trials, key=rank)),
        logarithmic=tuple(key for key, values in space if isinstance(values, Range) and values.log),
        importance=dict(importance or {}),
        unknown=unknown,
    )
