"""`check_study`: what would make a run fail later is refused once per launch, before anything starts."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from transformers import PreTrainedTokenizerBase

from portal.bases.base_config import outline_config
from portal.bases.files import is_cached, locate
from portal.bases.precision import QUANTISED, check_precision, no_bf16
from portal.bases.quantised_checkpoints import check_checkpoint
from portal.bases.tokenizer import load_tokenizer
from portal.config import BaseRef, DeviceChoice, DeviceKind, RunConfig
from portal.data.conversation import has_template, template_note
from portal.evaluate.text_metrics import check_metric_name, find_metric
from portal.learners.task_gradients import check_task_gradients
from portal.messages import refusal
from portal.results import ACC_NORM
from portal.storage.hub import hub_answers
from portal.text.encoder import check_library
from sweeps.planning.cost_model import Execution
from sweeps.planning.memory import decoder_shape, fullest_part
from sweeps.planning.shapes import check_shapes, coverage_notes
from sweeps.planning.study_rows import count_rows
from sweeps.planning.workload import Work, WorkloadEstimator
from sweeps.study.expand import Study

NodesRefusing = Callable[[Callable[[], object]], Mapping[str, str]]
"""By the names of nodes on which a check raises ValueError: what it says."""


@dataclass(frozen=True)
class CheckedStudy:
    """A study whose runs can be trained, and by run key what each of them costs.

    `works` are counts, `costs` multiply-adds of the frozen base. Runs of one kind differ in nothing that any
    prediction depends on, seeds for one: what holds for a pack holds for every pack of the same `kinds`.
    """

    study: Study
    works: Mapping[str, Work]
    costs: Mapping[str, float]
    kinds: Mapping[str, int]
    notes: tuple[str, ...] = ()
    """What should be known of bases that lack modules in some layers, or a chat template."""

    @property
    def how(self) -> Execution:
        """How the study wants its packs run."""
        settings = self.study.settings
        return Execution(settings.activations, settings.workers_per_pack)


def check_study(study: Study) -> CheckedStudy:
    """The study with what its runs cost; ValueError for what would make a run fail later.

    What only unfinished runs need is left to `check_tokenizers`, `check_precisions` and `check_libraries`:
    of the output folder nothing is read here, and the hub is not asked. A tokenizer that is on this machine
    and cannot be loaded is theirs to refuse, too.
    """
    _check_division(study)
    if study.settings.metrics == "one":
        _check_one_metric(study)
    num_rows = count_rows(study.suite, study.tasks)
    check_shapes(study.runs, full_coverage=study.settings.coverage == "full")
    tokenizers = {base: found for base in study.bases if (found := _tokenizer_here(base)) is not None}
    estimator = WorkloadEstimator(
        study.suite, study.tasks, num_rows, tokenizers, max_prompt=study.settings.max_prompt
    )
    numbers: dict[tuple[object, ...], int] = {}
    works: list[Work] = []
    costs: list[float] = []
    kinds: dict[str, int] = {}
    for run in study.runs:
        kind = kinds[run.key] = numbers.setdefault(_identity(run), len(numbers))
        if kind == len(works):
            works.append(estimator.work(run))
            costs.append(estimator.cost(run, works[kind]))
    return CheckedStudy(
        study,
        {key: works[kind] for key, kind in kinds.items()},
        {key: costs[kind] for key, kind in kinds.items()},
        kinds,
        (*coverage_notes(study.runs), *_template_notes(study, tokenizers)),
    )


def _template_notes(study: Study, tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> list[str]:
    """What bases without a chat template of their own read in place of it, where a task has conversations."""
    lacking = [base for base, tokenizer in tokenizers.items() if not has_template(tokenizer)]
    if not lacking or not any(study.suite.has_conversations(task) for task in study.tasks):
        return []
    return [template_note(base) for base in lacking]


def _check_one_metric(study: Study) -> None:
    """ValueError for tasks of several metrics, which names them."""
    answers = study.suite.answers_of(study.tasks)
    tasks_by = defaultdict[str, list[str]](list)
    for task in study.tasks:
        tasks_by[answers[task].metric if task in answers else ACC_NORM].append(task)
    if len(tasks_by) > 1:
        named = {metric: f"{tasks[0]}, ..." if tasks[1:] else tasks[0] for metric, tasks in tasks_by.items()}
        listed = ", ".join(f"{metric} ({tasks})" for metric, tasks in named.items())
        raise ValueError(
            f"metrics: 'one' is asked for, and the tasks have {len(named)}: {listed}; name tasks of one, or "
            "leave `metrics` out, and means over tasks mix them"
        )


def _check_division(study: Study) -> None:
    """ValueError for a base that cannot be divided over a worker's GPUs, and for an engine that copies it."""
    gpus = study.settings.gpus_per_worker
    if gpus <= 1:
        return
    copying = [run for run in study.runs if run.train is not None and run.train.engine == "peft"]
    if copying:
        raise ValueError(
            f"run {copying[0].describe()}: engine 'peft' copies the base, which cannot be divided over the "
            f"{gpus:g} GPUs of gpus_per_worker; leave the engine 'pack'"
        )
    for ref in dict.fromkeys(ref for run in study.runs for ref in run.bases):
        fullest_part(ref.name, ref.precision, on_gpu=True, num_gpus=int(gpus))


def _identity(run: RunConfig) -> tuple[object, ...]:
    """All of the run that predictions depend on; the runs of a study share the rest of their data."""
    data = run.data
    parts = (run.adapter, run.hypernet, run.train)
    return (
        run.method,
        run.bases,
        *parts,
        run.source_bases,
        data.tasks,
        data.calibrated,
        data.size,
        data.eval_size,
    )


def check_libraries(runs: Sequence[RunConfig]) -> None:
    """ValueError for a weighting of task gradients or an encoder whose library is not there, and for a name
    that is no metric's.
    """
    for weighting in {run.train.task_gradients for run in runs if run.train is not None}:
        check_task_gradients(weighting)
    for metric in _metrics(runs):
        check_metric_name(metric)
    if any(run.reads_descriptions for run in runs):
        check_library()


LARGE_BASE_WEIGHTS = 1e9
"""Weights of a base's layers from which nobody trains on CPUs without having said so."""


def large_bases(bases: Iterable[BaseRef]) -> Iterator[str]:
    """The names of bases with more than `LARGE_BASE_WEIGHTS` weights in their layers."""
    for name in dict.fromkeys(ref.name for ref in bases):
        if decoder_shape(name).params > LARGE_BASE_WEIGHTS:
            yield name


def check_sizes(bases: Iterable[BaseRef], device: DeviceKind, *, advice: str) -> None:
    """ValueError for a base so large that training it on a CPU must be an accident.

    `advice` says where the training is, and what can be done.
    """
    if device == "cuda":
        return
    for name in large_bases(bases):
        weights = decoder_shape(name).params / 1e9
        raise ValueError(f"base {name!r} has {weights:.1f} billion weights in its layers, and {advice}")


def check_precisions(bases: Iterable[BaseRef], device: DeviceKind) -> None:
    """ValueError for a precision that cannot be held where runs will be, or that a base cannot be read in."""
    for name, precision in dict.fromkeys((ref.name, ref.precision) for ref in bases):
        check_precision(precision, device)
        if precision in QUANTISED:
            check_checkpoint(name, outline_config(name), precision)


def check_cpus(bases: Iterable[BaseRef], refusing: NodesRefusing) -> None:
    """ValueError that names the nodes that cannot run the bases' precision; they are asked if it matters."""
    if any(ref.precision == "bf16" for ref in bases) and (
        names := sorted(refusing(partial(check_precision, "bf16", "cpu")))
    ):
        raise ValueError(no_bf16(", ".join(names)))


def check_metrics(runs: Sequence[RunConfig], refusing: NodesRefusing) -> None:
    """ValueError for a metric of the runs that a node cannot compute, with the names of such nodes."""
    for metric in _metrics(runs):
        hosts = defaultdict[str, list[str]](list)
        for host, said in refusing(partial(find_metric, metric)).items():
            hosts[said].append(host)
        if hosts:
            said, names = min(hosts.items())
            raise ValueError(f"{said} (on {', '.join(sorted(names))})")


def metric_notes(runs: Sequence[RunConfig]) -> list[str]:
    """What is to be known, where a study is planned, of metrics that this machine cannot compute."""
    refused = [refusal(partial(find_metric, metric)) for metric in _metrics(runs)]
    return [
        f"{said}; every node that takes workers is asked at launch" for said in refused if said is not None
    ]


def _metrics(runs: Sequence[RunConfig]) -> list[str]:
    return sorted({answers.metric for run in runs for answers in run.data.answers.values()})


@lru_cache(maxsize=64)
def _tokenizer_here(base: str) -> PreTrainedTokenizerBase | None:
    """The base's tokenizer; None where it is not on this machine, or not to be loaded."""
    if not locate(base).is_local:
        return None
    try:
        return load_tokenizer(base)
    except (ValueError, OSError):
        return None


def check_tokenizers(bases: Iterable[str]) -> None:
    """Load the tokenizer of each base; ValueError for one that belongs to another base."""
    for name in bases:
        if _tokenizer_here(name) is None:
            load_tokenizer(name)


def unchecked_tokenizers(bases: Iterable[str]) -> tuple[str, ...]:
    """Check what of the tokenizers this machine has; returns the bases whose files only the hub has.

    That is where the hub does not answer, and all are checked elsewhere. ValueError as of `check_tokenizers`.
    """
    names = tuple(bases)
    if all(locate(name).is_local for name in names) or hub_answers():
        check_tokenizers(names)
        return ()
    unchecked = []
    for name in names:
        if locate(name).is_local or is_cached(name):
            load_tokenizer(name, local_files_only=True)
        else:
            unchecked.append(name)
    return tuple(unchecked)


def expected_device(choice: DeviceChoice) -> DeviceKind:
    """Where runs will be: with `auto` on a GPU when this machine has one, or a cluster is named that may."""
    if choice != "auto":
        return choice
    return "cuda" if torch.cuda.is_available() or os.environ.get("RAY_ADDRESS") else "cpu"
