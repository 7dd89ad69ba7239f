"""`Run` and its `Cell`: the rows of a result table, gathered by run and base; and runs that are absent."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from portal.methods import MethodSpec, find_method
from portal.results import ACC_NORM, RESULTS, AbsentRun, read_table

ALL_MODULES = "q,k,v,o,gate,up,down"


class MethodKey(NamedTuple):
    """One way of adapting a base: all that tells it from others but the data size and the seed."""

    method: str
    name: str  # the method's label in the study file; the method itself unless it was given another
    modules: str | None
    rank: int | None
    sources: tuple[str, ...] | None

    @property
    def spec(self) -> MethodSpec:
        """The spec of the method (portal/methods/table.py)."""
        return find_method(self.method)

    @property
    def settings(self) -> str:
        """Modules and rank as people read them: `all r16`, `q,v r8`; empty for the frozen base."""
        if self.modules is None:
            return ""
        modules = "all" if self.modules == ALL_MODULES else self.modules
        return f"{modules} r{self.rank}" if self.rank is not None else modules

    @property
    def label(self) -> str:
        """The method's name as people read it, with the study's own name for it where it has one."""
        return self.spec.label if self.is_plain else f"{self.spec.label} ({self.name})"

    @property
    def full_name(self) -> str:
        """Label and settings: `PorTAL q,v r8`."""
        return f"{self.label} {self.settings}" if self.settings else self.label

    @property
    def is_plain(self) -> bool:
        """Whether the study file gives it no other name than the method's."""
        return self.name == self.method

    def sort_key(self) -> tuple[int, str, bool, int, str, int, str, tuple[str, ...]]:
        """Methods in their order; the plain name first, then by shape."""
        modules = self.modules or ""
        shape = modules.count(","), modules, self.rank or 0
        return (self.spec.order, self.method, not self.is_plain, *shape, self.name, self.sources or ())


class Cell(NamedTuple):
    """One row of the main table: a base, a variant and a calibration size (null for the frozen base)."""

    base: str
    variant: MethodKey
    size: int | None

    @property
    def method(self) -> str:
        return self.variant.method

    @property
    def spec(self) -> MethodSpec:
        """The spec of the method (portal/methods/table.py)."""
        return self.variant.spec


class Score(NamedTuple):
    """The scores of one (run, task, epoch, split); `score` is by the task's metric."""

    num_examples: int
    chance: float
    majority: float | None
    score: float
    log_loss: float


@dataclass(frozen=True)
class Cost:
    """The training of one run; null for the frozen base. It held `devices` devices for `wall_s` seconds.

    `rows` are those of all tasks that its scores rest on (`analysis.stats.aggregate.rows_used`).
    """

    trained_params: int | None
    train_tokens: int | None
    train_flops: float | None
    wall_s: float | None
    devices: float = 1.0
    rows: float | None = None

    @property
    def device_hours(self) -> float | None:
        return None if self.wall_s is None else self.wall_s * self.devices / 3600


@dataclass
class Run:
    """One run on one base. `scores` are by split, then epoch, then task.

    `kept` is by task the epoch whose parameters the run's artifact has, as the worker recorded it.
    `without_rows` are the tasks that the run was scored on without being trained on a row of them,
    `train_rows` how many rows of each task it was trained on, `keeps_best` whether validation rows chose the
    epoch of its artifact, `choices_together` whether a scored row held all choices of a question, or one of
    them; tables of earlier versions do not say the last three.
    """

    key: str
    cell: Cell
    seed: int | None
    cost: Cost
    acc_norm_unit: str
    scores: dict[str, dict[int, dict[str, Score]]] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    without_rows: set[str] = field(default_factory=set)
    train_rows: dict[str, int] = field(default_factory=dict)
    keeps_best: bool | None = None
    choices_together: bool | None = None

    def of_tasks(self, tasks: Collection[str]) -> "Run":
        """The run with its scores of these tasks only; what it was trained on stays known."""
        scores = {
            split: {
                epoch: own
                for epoch, scores in epochs.items()
                if (own := {task: score for task, score in scores.items() if task in tasks})
            }
            for split, epochs in self.scores.items()
        }
        return replace(
            self,
            scores={split: epochs for split, epochs in scores.items() if epochs},
            kept={task: epoch for task, epoch in self.kept.items() if task in tasks},
            without_rows=self.without_rows & set(tasks),
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task scored at any epoch, sorted."""
        return tuple(
            sorted({task for epochs in self.scores.values() for tasks in epochs.values() for task in tasks})
        )

    @property
    def num_epochs(self) -> int:
        """Number of epochs that were scored on any split."""
        return len({epoch for epochs in self.scores.values() for epoch in epochs})


def score_word(score_name: str) -> str:
    """`accuracy` where the score is that of choices, else `score`."""
    return "accuracy" if score_name == ACC_NORM else "score"


@dataclass(frozen=True)
class ResultSet:
    """All runs of a result table. `duplicates` are keys of runs whose cell and seed another run has."""

    runs: tuple[Run, ...]
    duplicates: tuple[str, ...]
    prompt_sets: tuple[str, ...]
    devices: tuple[str, ...]
    eval_sets: Mapping[tuple[str, str], str]
    names: tuple[str, ...]
    revisions: Mapping[str, tuple[str, ...]]  # by base
    kinds: Mapping[str, str] = field(default_factory=dict)  # by task, of those that have one
    metrics: Mapping[str, str] = field(default_factory=dict)  # by task: what its score is

    @property
    def score_name(self) -> str:
        """The metric of all tasks, or `score` where they have several."""
        metrics = set(self.metrics.values())
        return metrics.pop() if len(metrics) == 1 else "score" if metrics else ACC_NORM

    def of_tasks(self, tasks: Collection[str]) -> "ResultSet":
        """The same with the scores of these tasks only, but for runs of joint training, which stay whole.

        Runs without a score of them are left out.
        """
        kept = []
        for run in self.runs:
            if run.cell.spec.runs_on == "targets":
                run = run.of_tasks(tasks)
            if run.scores:
                kept.append(run)
        return replace(
            self,
            runs=tuple(kept),
            metrics={task: metric for task, metric in self.metrics.items() if task in tasks},
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """Bases of all runs but source runs; bases that a run was ported to come first."""
        ported = {run.cell.base for run in self.runs if run.cell.spec.is_port}
        bases = {run.cell.base for run in self.runs if run.cell.spec.runs_on == "targets"}
        return tuple(sorted(bases, key=lambda base: (base not in ported, base)))

    @property
    def cells(self) -> dict[Cell, tuple[Run, ...]]:
        """Runs by cell, each cell's runs in seed order."""
        cells: dict[Cell, list[Run]] = {}
        for run in self.runs:
            cells.setdefault(run.cell, []).append(run)
        return {
            cell: tuple(sorted(runs, key=lambda run: (run.seed is not None, run.seed or 0)))
            for cell, runs in sorted(cells.items(), key=lambda item: cell_order(item[0]))
        }


def cell_order(cell: Cell) -> tuple[str, tuple[int, str, bool, int, str, int, str, tuple[str, ...]], int]:
    """The order in which cells are shown: base, method, size."""
    return cell.base, cell.variant.sort_key(), cell.size or 0


def load_results(path: Path, workers: Mapping[str, int], device_share: float) -> ResultSet:
    """The runs in the result table at `path`; a ValueError names what is wrong with the file.

    `workers` is the number of workers that stepped a run together, by run key, where that was not one; each
    held `device_share` of a GPU, or so many GPUs, unless it was on a CPU.
    """
    table = read_table(path, RESULTS)
    study = gather_runs(table)
    on_cpu = {row["run"] for row in table.select(["run", "device"]).to_pylist() if row["device"] == "cpu"}
    for run in study.runs:
        share = 1.0 if run.key in on_cpu else device_share
        run.cost = replace(run.cost, devices=workers.get(run.key, 1) * share)
    return study


def gather_runs(table: pa.Table) -> ResultSet:
    """The runs in a result table.

    Of two runs with one cell and seed (say, one scored after every epoch, one after the last only) the one
    with more scored epochs counts, then the one with the smaller key. ValueError when a task was scored on
    unlike rows, or for a method that is not registered.
    """
    rows = table.to_pylist()
    for method in _distinct(row["method"] for row in rows):
        find_method(method)
    eval_sets = _check_comparable(rows)
    runs: dict[tuple[str, str], Run] = {}
    for row in rows:
        place = (row["run"], row["base"])
        if place not in runs:
            runs[place] = Run(
                row["run"],
                _cell_of(row),
                row["seed"],
                _cost_of(row),
                row["acc_norm_unit"],
                keeps_best=row["keeps_best"],
                choices_together=row["choices_together"],
            )
        run = runs[place]
        run.cost = _larger_cost(run.cost, _cost_of(row))
        if row["kept"]:
            run.kept[row["task"]] = row["epoch"]
        if row["calibrated"] is False:
            run.without_rows.add(row["task"])
        if row["train_rows"] is not None:
            run.train_rows[row["task"]] = row["train_rows"]
        epochs = run.scores.setdefault(row["split"], {})
        epochs.setdefault(row["epoch"], {})[row["task"]] = Score(*(row[name] for name in Score._fields))
    kept: dict[tuple[Cell, int | None], Run] = {}

    def completeness(run: Run) -> tuple[int, int, str]:
        """The most complete run of a cell and seed comes first: test rows may be of some epochs only."""
        return -run.num_epochs, -len(run.scores.get("test", ())), run.key

    for run in sorted(runs.values(), key=completeness):
        kept.setdefault((run.cell, run.seed), run)
    chosen = sorted(kept.values(), key=lambda run: (cell_order(run.cell), run.seed or 0, run.key))
    passed_over = {run.key for run in runs.values()} - {run.key for run in chosen}
    return ResultSet(
        runs=tuple(chosen),
        duplicates=tuple(sorted(passed_over)),
        prompt_sets=_distinct(row["prompt_set"] for row in rows),
        devices=_distinct(row["device"] for row in rows),
        eval_sets=eval_sets,
        names=_distinct(row["study"] for row in rows),
        revisions={
            base: _distinct(row["base_revision"] for row in rows if row["base"] == base)
            for base in sorted({row["base"] for row in rows})
        },
        metrics=_metrics_of(rows),
    )


def _metrics_of(rows: Iterable[dict]) -> dict[str, str]:
    """The metric of every task; ValueError for one that is judged by several."""
    metrics: dict[str, str] = {}
    for row in rows:
        task, metric = row["task"], row["metric"]
        if metrics.setdefault(task, metric) != metric:
            raise ValueError(f"task {task!r} is judged by {metrics[task]} and by {metric}; report them apart")
    return metrics


def _check_comparable(rows: list[dict]) -> dict[tuple[str, str], str]:
    """The evaluation-set hash of every (task, split); unlike hashes cannot be put in one table."""
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        place = (row["task"], row["split"])
        if seen.setdefault(place, row["eval_set"]) != row["eval_set"]:
            raise ValueError(
                f"task {row['task']!r}, split {row['split']!r}: run {row['run']} was scored on "
                f"another evaluation set ({row['eval_set'][:12]}) than the runs before it "
                f"({seen[place][:12]}); report them apart"
            )
    return seen


def _cell_of(row: dict) -> Cell:
    sources = tuple(row["sources"]) if row["sources"] is not None else None
    variant = MethodKey(row["method"], row["label"], row["modules"], row["rank"], sources)
    return Cell(row["base"], variant, row["size"])


def _cost_of(row: dict) -> Cost:
    return Cost(row["trained_params"], row["train_tokens"], row["train_flops"], row["wall_s"])


def _larger_cost(first: Cost, second: Cost) -> Cost:
    """The larger of each counter: counters grow while a run trains, so its totals are the largest values."""

    def larger(a: float | None, b: float | None) -> float | None:
        return b if a is None else a if b is None else max(a, b)

    tokens = larger(first.train_tokens, second.train_tokens)
    return Cost(
        trained_params=first.trained_params if first.trained_params is not None else second.trained_params,
        train_tokens=None if tokens is None else int(tokens),
        train_flops=larger(first.train_flops, second.train_flops),
        wall_s=larger(first.wall_s, second.wall_s),
    )


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def method_key(run: AbsentRun) -> MethodKey:
    """The key that the run's rows would have; `run` stands for an unknown method."""
    method = run.method or "run"
    return MethodKey(method, run.label or method, run.modules, run.rank, run.sources)


def is_in(run: AbsentRun, cell: Cell) -> bool:
    """Whether the run would be one of the cell's; a run without a label is known by its method alone."""
    same = run.method == cell.method if run.label is None else method_key(run) == cell.variant
    return same and run.base == cell.base and run.size == cell.size


def describe_absent(run: AbsentRun) -> str:
    """`PorTAL on mini-gemma3, size 250, seed 1`, as far as it is known."""
    label = method_key(run).label if run.method else run.label or "run"
    text = f"{label} on {run.base}" if run.base else label
    if run.size is not None:
        text += f", size {run.size}"
    if run.seed is not None:
        text += f", seed {run.seed}"
    return f"{text} ({run.run})" if run.run else text
