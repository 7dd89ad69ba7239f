"""Search of a method's settings with Optuna: TPE proposes, ASHA stops what falls behind, packs train.

Trials are studies in one output folder, so what two of them share is trained once, and a search that was
broken off goes on: Optuna's own storage (SQLite, which optuna-dashboard opens) holds the trials, run folders
hold what they trained. Test rows have no part in it.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from rich.console import Console

from portal.importance import ImportanceError, importance_of
from portal.search_record import SEARCH_FILE, Importance, SearchRecord, SearchTrial
from portal.storage.atomic import write_bytes_atomic, write_json_atomic
from sweeps.alerts.alerts import Alerts
from sweeps.alerts.desk import AlertDesk
from sweeps.launch.driver import run_study
from sweeps.launch.executors import ExecutorName, find_executor
from sweeps.launch.interrupts import termination_interrupts
from sweeps.launch.resources import Wanted
from sweeps.planning.shapes import check_shapes
from sweeps.results.validation_scores import validation_values
from sweeps.search.search_file import Range, Scalar, SearchPlan
from sweeps.store.lease import acquire
from sweeps.store.output_folder import SEARCH_FOLDER
from sweeps.store.run_store import RunStore
from sweeps.store.session import request_stop
from sweeps.study.context import StudyContext
from sweeps.study.expand import Study, expand, stage_of

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
        failures = [self._store.failure(run.key) or {"lost": True} for run in self.study.runs]
        goes_on = all(failure["lost"] or failure.get("asked") == "pause" for failure in failures)
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
    trials, of the budget, and how the search ended. ValueError when `out` holds another search, the record of
    its alerts is damaged, or another driver works there.
    """
    folder, console = out / SEARCH_FOLDER, console or Console(quiet=True)
    with acquire(folder) as lease:
        storage = f"sqlite:///{(folder / 'optuna.db').resolve()}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        search = _open(plan, storage, out)
        settings, store = plan.trial({}), RunStore(out)
        context = StudyContext.open(settings, out)
        _check_adapters(plan, context)
        _check_metric(plan, context)
        wanted = Wanted.of(settings.device, gpus)
        told = alerts if alerts is not None and _has_work_left(search, plan) else Alerts()
        with (
            termination_interrupts(),
            AlertDesk(told, plan.name, out, lease.token, console, what="search", record=folder) as desk,
            find_executor(executor).open(out, console, wanted) as found,  # one for all batches
        ):
            desk.outcome = lambda: _record(search, plan).counts
            desk.holds(sum(found.nodes))
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
                _write_record(_record(search, plan, unknown="the search has not ended"), out)
                if lost := [each for each in batch if each.lost]:
                    numbers = ", ".join(str(each.trial.number) for each in lost)
                    console.print(f"trials {numbers} lost their workers; the same command goes on with them")
                    break
        console.print(f"search {plan.name}: fitting random forests to see which setting mattered")
        return _outcome(search, plan, out, storage)


def _has_work_left(search: optuna.Study, plan: SearchPlan) -> bool:
    """Whether trials are missing, or were left unfinished."""
    states = [trial.state for trial in search.get_trials(deepcopy=False)]
    return len(states) < plan.search.trials or TrialState.RUNNING in states


def _check_adapters(plan: SearchPlan, context: StudyContext) -> None:
    """ValueError for an adapter at an end of its range, or in its list, that does not fit its base."""
    for key in plan.search.space:
        if ".adapter." in key:
            for value in plan.extremes(key):
                check_shapes(expand(plan.trial({key: value}), context).runs)


def _check_metric(plan: SearchPlan, context: StudyContext) -> None:
    """ValueError for a metric that a task of the study has not, as written answers have no accuracy."""
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
        study_name=plan.name,
        storage=storage,
        direction=search.direction,
        pruner=pruner,
        load_if_exists=True,
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


def _outcome(search: optuna.Study, plan: SearchPlan, out: Path, storage: str) -> SearchResult:
    """Write the record of the search, with the importance of its settings, and the best trial's study."""
    try:
        record = _record(search, plan, importance=importance_of(search.get_trials(deepcopy=False)))
    except ImportanceError as error:
        record = _record(search, plan, unknown=str(error))
    _write_record(record, out)
    best = None
    if record.complete:
        first, best = record.complete[0], out / SEARCH_FOLDER / BEST
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


def _write_record(record: SearchRecord, out: Path) -> None:
    write_json_atomic(out / SEARCH_FOLDER / SEARCH_FILE, record.model_dump(mode="json"))
