"""`check_study`: what would make a run fail later is refused once per launch, before anything starts.

Rows come first (how many there are, whether bases can read the longest), then shapes of adapters, then what
devices, hubs and libraries have.
"""

import heapq
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from transformers import PreTrainedTokenizerBase

from portal.bases.family import (
    BaseLayout,
    base_config,
    base_layout,
    base_takes_branches,
    check_checkpoint,
    load_tokenizer,
    outline_config,
)
from portal.bases.files import is_cached, locate
from portal.bases.precision import QUANTISED, check_precision, no_bf16
from portal.bases.sites import check_coverage, check_modules, check_rank, coverage_note, group_sites
from portal.config import BaseRef, DeviceChoice, DeviceKind, RunConfig
from portal.data.conversation import has_template, template_note
from portal.data.suites import Suite
from portal.data.token_cache import cached_extent
from portal.data.token_rows import Extent, encode_examples, extent_of
from portal.evaluate.text_metrics import check_metric_name, find_metric
from portal.messages import counted, refusal
from portal.recipes import RECIPES
from portal.results import ACC_NORM, MANY_TASKS, tasks_by_kind
from portal.storage.hub import hub_answers
from portal.storage.paths import Folder
from portal.tasks.example import SPLITS, Example
from portal.tasks.prompt_folder import ExampleFile
from portal.text.encoder import check_library
from sweeps.planning.cost_model import Execution
from sweeps.planning.memory import decoder_shape, fullest_part
from sweeps.planning.workload import Work, WorkloadEstimator
from sweeps.store.token_caches import cache_folder_of, cache_identity
from sweeps.study.expand import Study
from sweeps.study.study_file import StudyFile

_NAMED = 3
"""Tasks that a line names of many without kinds."""
LONGEST = 8
"""Texts per task that are tokenised to check a base's context before the rows are."""


def count_rows(suite: Suite, tasks: Sequence[str], splits: Sequence[str] = SPLITS) -> dict[str, int]:
    """Training rows per task; ValueError for a task without rows in one of these splits."""
    for task in tasks:
        for split in splits:
            if not suite.examples(task, split):
                raise ValueError(f"suite {suite.name!r}: task {task!r} has no rows in split {split!r}")
    return {task: len(suite.examples(task, "train")) for task in tasks}


def row_warnings(study: Study) -> list[str]:
    """Name curves with sizes above their method's, tasks with fewer rows than asked, and leaked test rows.

    A size that the study file does not name is the recipe's cap, which asks for nothing.
    """
    asked = {label: sizes for label in study.settings.methods if (sizes := _asked(study.settings, label))}
    lines = []
    for label, method in study.settings.methods.items():
        size = _method_size(study.settings, label)
        above = [each for each in method.curve.sizes if size and each > size] if method.curve else []
        if above:
            listed = ", ".join(map(str, above))
            verb = "size {} is" if len(above) == 1 else "sizes {} are"
            lines.append(f"methods.{label}.curve: {verb.format(listed)} above the method's size {size}")
    return [*lines, *_shortages(study, asked), *leak_warnings(study.suite, study.tasks)]


def _shortages(study: Study, asked: Mapping[str, Sequence[int]]) -> list[str]:
    """Tasks with fewer rows than `asked` by label: a line each, or of many one per number of rows."""
    short: dict[str, list[str]] = {}
    for task, count in count_rows(study.suite, study.tasks).items():
        wanted = [f"{label} {max(sizes)}" for label, sizes in asked.items() if max(sizes) > count]
        if wanted:
            text = f"{count} training rows are there; asked for: {', '.join(wanted)}"
            short.setdefault(text, []).append(task)
    if sum(map(len, short.values())) > MANY_TASKS:
        return [f"{_count(tasks, study.suite.kinds)}: {text}" for text, tasks in short.items()]
    texts = {task: text for text, tasks in short.items() for task in tasks}
    return [f"task {task!r}: {texts[task]}" for task in study.tasks if task in texts]


def leak_warnings(suite: Suite, tasks: Sequence[str]) -> list[str]:
    """Tasks whose test rows are in other splits, too, by their text or by their cluster; many as one line.

    Tasks with splits too large to be held are left to `portal tasks`.
    """
    leaks: dict[str, tuple[int, int]] = {}
    if suite.is_outline:
        return []
    for task in tasks:
        if any(isinstance(suite.examples(task, split), ExampleFile) for split in SPLITS):
            continue
        lint = suite.lint(task)
        if lint.repeated or lint.shared_clusters:
            leaks[task] = lint.repeated, lint.shared_clusters
    if len(leaks) > MANY_TASKS:
        repeated, shared = map(sum, zip(*leaks.values(), strict=True))
        return [_state_leak(_count(list(leaks), suite.kinds), repeated, shared)]
    return [_state_leak(f"task {task!r}", *counts) for task, counts in leaks.items()]


def _state_leak(where: str, repeated: int, shared_clusters: int) -> str:
    parts = []
    if repeated:
        verb = "repeats" if repeated == 1 else "repeat"
        parts.append(f"{counted(repeated, 'test row')} {verb} the text of training or validation rows")
    if shared_clusters:
        verb = "is" if shared_clusters == 1 else "are"
        parts.append(f"{counted(shared_clusters, 'cluster')} of test rows {verb} in other splits, too")
    return f"{where}: {'; '.join(parts)}"


def _count(tasks: Sequence[str], kinds: Mapping[str, str]) -> str:
    """`70 tasks of 14 kinds (birthplace, class, ...)`; without kinds the first names, and how many more."""
    groups = tasks_by_kind(tasks, kinds)
    if groups:
        return f"{len(tasks)} tasks of {len(groups)} kinds ({', '.join(groups)})"
    named, more = ", ".join(map(repr, tasks[:_NAMED])), len(tasks) - _NAMED
    return f"task{'' if len(tasks) == 1 else 's'} {named}{f' and {more} more' if more > 0 else ''}"


def _asked(settings: StudyFile, label: str) -> list[int]:
    """The numbers of rows per task that the study file names for a method."""
    method = settings.methods[label]
    curve = method.curve.sizes if method.curve else ()
    named = (method.size, *(override.size for override in method.overrides.values()), *curve)
    return [size for size in named if size is not None]


def _method_size(settings: StudyFile, label: str) -> int | None:
    method = settings.methods[label]
    if "size" in method.model_fields_set:
        return method.size
    return RECIPES[settings.recipe].size(settings.spec(label).name)


def check_row_lengths(
    study: Study, out: Folder, bases: Sequence[str], *, is_offline: bool = False
) -> tuple[str, ...]:
    """Check that the bases can read the study's rows; returns those that only a sample was checked for.

    Rows that are tokenised in `out` are all known. Elsewhere the `LONGEST` texts per task are tokenised, and
    the rest is checked when the study runs. Offline, only bases on this machine are checked. ValueError for a
    base that cannot read a row.
    """
    data = study.data
    sampled: dict[Folder, Extent] = {}
    only_sampled = []
    for base in bases:
        if is_offline and not locate(base).is_local:
            continue
        folder = cache_folder_of(cache_identity(study.suite, data, base), out)
        try:
            extent = cached_extent(folder)
        except ValueError:  # there is none, or the next launch makes it anew
            only_sampled.append(base)
            if folder not in sampled:
                sampled[folder] = _sampled_extent(study, base, data.max_prompt)
            extent = sampled[folder]
        extent.check(base, base_config(base).get_text_config())
    return tuple(only_sampled)


def _sampled_extent(study: Study, base: str, max_prompt: int) -> Extent:
    longest: list[tuple[Example, str]] = []
    for task in study.tasks:
        texts = ((example, split) for split in SPLITS for example in study.suite.examples(task, split))
        longest += heapq.nlargest(LONGEST, texts, key=lambda text: _num_chars(text[0]))
    return extent_of(encode_examples(longest, load_tokenizer(base), max_prompt=max_prompt))


def _num_chars(example: Example) -> int:
    contexts = example.contexts or (example.prompt,)
    return max(map(len, contexts)) + max(map(len, example.choices))


def check_shapes(runs: Iterable[RunConfig], *, full_coverage: bool = False) -> None:
    """ValueError where an adapter does not fit its base, a core would have heads that nothing trains, a loss
    needs rows that a base cannot take, or a transfer does not fit its two bases.

    With `full_coverage` also where a layer has neither a module that was asked for nor what stands in for it.
    """
    distinct = {
        (run.method, run.bases, run.adapter, run.source_bases, _has_choice_loss(run)): run
        for run in runs
        if run.adapter is not None
    }
    layouts = _layouts(distinct.values())
    for run in distinct.values():
        assert run.adapter is not None
        for name, layout in [(ref.name, layouts[ref.name]) for ref in run.bases]:
            try:
                _check_base(run, name, layout)
            except ValueError as error:
                raise ValueError(f"base {name!r}: {error}") from None
            if full_coverage:
                check_coverage(name, layout, run.adapter.modules)
        _check_heads(run, layouts)
        if run.spec.is_transfer and run.source_bases is not None:
            # It loads peft, which few studies need so early.
            from portal.learners.transfer import check_transfer

            check_transfer(run, layouts[run.source_bases[0]].sites, layouts[run.bases[0].name].sites)


def coverage_notes(runs: Iterable[RunConfig]) -> list[str]:
    """What should be known of bases whose layers lack modules that the runs adapt, a sentence for each."""
    adapting = [run for run in runs if run.adapter is not None]
    layouts = _layouts(adapting)
    asked = {(ref.name, run.adapter.modules): None for run in adapting if run.adapter for ref in run.bases}
    notes = (coverage_note(name, layouts[name], modules) for name, modules in asked)
    return list(dict.fromkeys(note for note in notes if note is not None))


def _check_base(run: RunConfig, name: str, layout: BaseLayout) -> None:
    assert run.adapter is not None
    if not run.spec.parents:  # else what they adapt is asked for
        check_modules(layout.sites, run.adapter.modules)
    check_rank(layout.sites, run.adapter.modules, run.adapter.rank)
    if _has_choice_loss(run) and not base_takes_branches(name):
        raise ValueError(
            "choice_loss needs all choices of a question in one row, which this base cannot keep apart: "
            "leave it 0"
        )


def _check_heads(run: RunConfig, layouts: Mapping[str, BaseLayout]) -> None:
    """ValueError for a core to train with heads that no base of the run uses."""
    assert run.adapter is not None
    if run.hypernet is None or run.train is None or run.spec.parents:
        return  # a core of a parent is held as it is
    groups = {ref.name: group_sites(layouts[ref.name].sites, run.adapter.modules) for ref in run.bases}
    used = {group.head for own in groups.values() for group in own}
    if unused := [module for module in run.adapter.modules if module not in used]:
        had = dict.fromkeys(group.module for own in groups.values() for group in own)
        raise ValueError(
            f"{run.describe()}: the core's heads for {', '.join(unused)} would never be trained, since no "
            f"base of the run has layers of their own for them; ask for the modules {','.join(had)}"
        )


def _layouts(runs: Iterable[RunConfig]) -> dict[str, BaseLayout]:
    """By name those of the bases that the runs use; a transfer uses that of its LoRAs, too."""
    names: dict[str, None] = {}
    for run in runs:
        names |= dict.fromkeys(ref.name for ref in run.bases)
        if run.spec.is_transfer:
            names |= dict.fromkeys(run.source_bases or ())
    return {name: base_layout(name) for name in names}


def _has_choice_loss(run: RunConfig) -> bool:
    return run.train is not None and run.train.choice_loss > 0


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
    """ValueError for a base that cannot be divided over a worker's GPUs."""
    gpus = study.settings.gpus_per_worker
    if gpus <= 1:
        return
    for ref in dict.fromkeys(ref for run in study.runs for ref in run.bases):
        fullest_part(ref.name, ref.precision, on_gpu=True, num_gpus=int(gpus))


def _identity(run: RunConfig) -> tuple[object, ...]:
    """All of the run that predictions depend on; the runs of a study share the rest of their data."""
    rows = (run.data.tasks, run.data.calibrated, run.data.size, run.data.eval_size)
    return run.method, run.bases, run.adapter, run.hypernet, run.train, run.source_bases, *rows


def check_libraries(runs: Sequence[RunConfig]) -> None:
    """ValueError for an encoder whose library is not there, and for a name that is no metric's."""
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
