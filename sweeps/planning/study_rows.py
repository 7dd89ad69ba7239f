"""A study's rows: how many there are, how many are asked for, and whether its bases can read the longest."""

import heapq
from collections.abc import Mapping, Sequence

from portal.bases.base_config import base_config
from portal.bases.files import locate
from portal.bases.tokenizer import load_tokenizer
from portal.data.suite import Suite
from portal.data.token_cache import cached_extent
from portal.data.token_rows import Extent, encode_examples, extent_of
from portal.messages import counted
from portal.recipes import RECIPES
from portal.results import MANY_TASKS, tasks_by_kind
from portal.storage.paths import Folder
from portal.tasks.example import SPLITS, Example
from portal.tasks.example_stream import ExampleFile
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
    data = study.runs[0].data
    sampled: dict[Folder, Extent] = {}
    only_sampled = []
    for base in bases:
        if is_offline and not locate(base).is_local:
            continue
        identity = cache_identity(
            study.suite, study.tasks, base, max_prompt=data.max_prompt, data_hash=data.data_hash
        )
        folder = cache_folder_of(identity, out)
        extent = _known_extent(folder)
        if extent is None:
            only_sampled.append(base)
            if folder not in sampled:
                sampled[folder] = _sampled_extent(study, base, data.max_prompt)
            extent = sampled[folder]
        extent.check(base, base_config(base).get_text_config())
    return tuple(only_sampled)


def _known_extent(folder: Folder) -> Extent | None:
    """The extent of a token cache; None where there is none, or the next launch makes it anew."""
    try:
        return cached_extent(folder)
    except ValueError:
        return None


def _sampled_extent(study: Study, base: str, max_prompt: int) -> Extent:
    texts = (text for task in study.tasks for text in _longest_texts(study.suite, task))
    return extent_of(encode_examples(texts, load_tokenizer(base), max_prompt=max_prompt))


def _longest_texts(suite: Suite, task: str) -> list[tuple[Example, str]]:
    texts = ((example, split) for split in SPLITS for example in suite.examples(task, split))
    return heapq.nlargest(LONGEST, texts, key=lambda text: _num_chars(text[0]))


def _num_chars(example: Example) -> int:
    contexts = example.contexts or (example.prompt,)
    return max(map(len, contexts)) + max(map(len, example.choices))
