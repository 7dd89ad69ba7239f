"""`Builder`: how the records of one data set become examples, and what is found wrong with them."""

import hashlib
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from portal.tasks.example import Example
from portal.tasks.records import Record, column_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VALIDATION_SHARE, VALIDATION_ROWS = 0.1, 500
TEST_SHARE, TEST_ROWS = 0.2, 1000
"""Slices that are carved where a data set has none: so much of the rows, and no more than so many."""


@dataclass(frozen=True)
class Draft:
    """A record turned to text: choices with their leading space, in the publisher's order."""

    prompt: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class Dropped:
    """A record that cannot be a question, and why. It is counted, never passed over in silence."""

    reason: str


@dataclass
class Lint:
    """What reading a task found: rows dropped, and doubtful rows that stay. Counts are by split."""

    dropped: dict[tuple[str, str], int] = field(default_factory=dict)  # by (publisher's split, reason)
    merged: dict[str, int] = field(default_factory=dict)  # rows with equal choices, made one
    duplicates: dict[str, int] = field(default_factory=dict)  # rows whose text the split has already
    shared_clusters: int = 0  # clusters of reported rows that training rows have too
    repeated: int = 0  # test rows whose text training or validation rows have too

    def compare(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Count repeated texts in each split, and the clusters that test shares with what precedes it."""
        clusters = {name: {example.cluster for example in examples} for name, examples in splits.items()}
        texts = {name: [_text_of(example) for example in examples] for name, examples in splits.items()}
        self.duplicates = {name: len(every) - len(set(every)) for name, every in texts.items()}
        before = {*texts["train"], *texts["validation"]}
        self.repeated = sum(text in before for text in texts["test"])
        self.shared_clusters = len(clusters["test"] & (clusters["train"] | clusters["validation"]))

    def counts(self) -> tuple[int, int, int, int, int]:
        """Rows dropped, rows that repeat another of their split, test rows that repeat one of another split,
        rows with equal choices, and clusters that test rows share.
        """
        return (
            sum(self.dropped.values()),
            sum(self.duplicates.values()),
            self.repeated,
            sum(self.merged.values()),
            self.shared_clusters,
        )

    def reasons(self) -> list[str]:
        """Why rows were dropped, a line for each split and reason."""
        return [f"{count} of split {split}: {why}" for (split, why), count in sorted(self.dropped.items())]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "dropped": [
                {"split": split, "reason": why, "rows": count}
                for (split, why), count in sorted(self.dropped.items())
            ],
            "equal_choices": self.merged,
            "duplicates": self.duplicates,
            "repeated_in_test": self.repeated,
            "shared_clusters": self.shared_clusters,
        }


@dataclass(frozen=True)
class HubSource:
    """Where a data set is published. `revision` is a commit; None only where a user named none."""

    repo: str
    config: str | None
    revision: str | None


@dataclass(frozen=True)
class Builder:
    """A data set as a task. `draft` raises KeyError for a missing column and ValueError for a bad value.

    `train`, `validation` and `test` are the publisher's splits. Without `validation` a slice is carved from
    the training rows; without `test`, another one, or the rows from the share `test_from` on.
    """

    task: str
    hub: HubSource | None
    licence: str
    columns: tuple[str, ...]
    draft: Callable[[Record], Draft | Dropped]
    cluster: Callable[[Sequence[Record]], list[str]] | None = None  # None: rows of the same text are one
    train: str = "train"
    validation: str | None = None
    test: str | None = "validation"
    test_from: float | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The publisher's splits that are read."""
        return tuple(dict.fromkeys(name for name in (self.train, self.validation, self.test) if name))

    def examples(self, read: Callable[[str], Sequence[Record]]) -> tuple[dict[str, list[Example]], Lint]:
        """Train, validation and test examples of what `read(split)` returns, and what was wrong with them.

        Carved slices keep clusters whole; the rows from `test_from` on are cut by their place. Raises
        ValueError, naming task, split and row, for a missing column or a malformed value.
        """
        lint = Lint()
        converted = {split: self._convert(split, read(split), lint) for split in self.splits}
        rest = converted[self.train]
        if self.test is not None:
            test = converted[self.test]
        elif self.test_from is not None:
            first = math.floor(len(rest) * self.test_from)
            rest, test = rest[:first], rest[first:]
        else:
            rest, test = carve(rest, share=TEST_SHARE, most=TEST_ROWS)
        if self.validation is not None:
            train, validation = rest, converted[self.validation]
        else:
            train, validation = carve(rest, share=VALIDATION_SHARE, most=VALIDATION_ROWS)
        return {"train": train, "validation": validation, "test": test}, lint

    def _convert(self, split: str, records: Sequence[Record], lint: Lint) -> list[Example]:
        for index, record in enumerate(records):
            self._check_columns(split, index, record)
        examples = []
        clusters = self._clusters(split, records)
        for index, record in enumerate(records):
            name = f"{split}-{index:06d}"
            draft = self._draft(split, index, record)
            if isinstance(draft, Draft):
                whole = _merge_equal_choices(draft)
                lint.merged[split] = lint.merged.get(split, 0) + (whole != draft)
                draft = _fault_of(whole) or whole
            if isinstance(draft, Dropped):
                lint.dropped[split, draft.reason] = lint.dropped.get((split, draft.reason), 0) + 1
                continue
            example = Example(self.task, name, draft.prompt, draft.choices, draft.gold, "")
            cluster = _digest(*map(str, _text_of(example)))[:12] if clusters is None else clusters[index]
            example = replace(example, cluster=cluster)
            examples.append(shuffle_choices(example))
        if not examples:
            why = "; ".join(f"{n}: {reason}" for (of, reason), n in lint.dropped.items() if of == split)
            raise ValueError(
                f"task {self.task!r}, split {split!r}: no usable row among {len(records)}"
                + (f" ({why})" if why else "")
            )
        return examples

    def _clusters(self, split: str, records: Sequence[Record]) -> list[str] | None:
        if self.cluster is None:
            return None
        try:
            return self.cluster(records)
        except KeyError as error:
            raise ValueError(f"task {self.task!r}, split {split!r}: rows without {error.args[0]!r}") from None

    def _draft(self, split: str, index: int, record: Record) -> Draft | Dropped:
        try:
            return self.draft(record)
        except KeyError as error:
            raise ValueError(f"{self._where(split, index)}: no {error.args[0]!r} in it") from None
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"{self._where(split, index)}: {error}") from None

    def _check_columns(self, split: str, index: int, record: Record) -> None:
        for column in self.columns:
            if column not in record:
                raise ValueError(
                    f"{self._where(split, index)}: no column {column!r}; it has {', '.join(sorted(record))}"
                )

    def _where(self, split: str, index: int) -> str:
        return f"task {self.task!r}, split {split!r}, row {index}"


def check_task_name(name: str) -> None:
    """ValueError for a name that cannot be that of a folder: adapters are written under it."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no task name: letters, digits, '.', '_' and '-', at most 100, "
            "the first one a letter or digit"
        )


def _text_of(example: Example) -> tuple[str, tuple[str, ...]]:
    """What makes two rows the same question."""
    return example.prompt, tuple(sorted(example.choices))


def shuffle_choices(example: Example) -> Example:
    """The example with its choices in an order drawn from its task and id: no position tells the gold."""
    seed = hashlib.sha256(f"{example.task}\n{example.id}".encode()).digest()
    order = list(range(len(example.choices)))
    random.Random(seed).shuffle(order)
    choices = tuple(example.choices[index] for index in order)
    return replace(example, choices=choices, gold=order.index(example.gold))


def carve(examples: Sequence[Example], *, share: float, most: int) -> tuple[list[Example], list[Example]]:
    """(rest, slice): whole clusters, drawn by a hash of their names, until the slice has its share of rows.

    At least one cluster is carved and one stays; `most` rows are enough. ValueError when all rows are one
    cluster.
    """
    task = examples[0].task
    wanted = min(math.ceil(len(examples) * share), most)
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.cluster] = sizes.get(example.cluster, 0) + 1
    if len(sizes) < 2:
        raise ValueError(f"task {task!r}: all {len(examples)} rows share one cluster: none can be held out")
    smallest_first = min(sizes.values())
    chosen: set[str] = set()
    count = 0
    for cluster in sorted(sizes, key=lambda name: _digest(task, name)):
        if len(chosen) + 1 == len(sizes) or count >= wanted:
            break
        if count + sizes[cluster] <= max(wanted, smallest_first):
            chosen.add(cluster)
            count += sizes[cluster]
    rest = [example for example in examples if example.cluster not in chosen]
    return rest, [example for example in examples if example.cluster in chosen]


def clusters_by(*columns: str) -> Callable[[Sequence[Record]], list[str]]:
    """Rows with the same text in `columns` share a cluster, whatever their case and spacing."""

    def assign(records: Sequence[Record]) -> list[str]:
        return [
            _digest(*(_plain(str(column_of(record, column))) for column in columns))[:12]
            for record in records
        ]

    return assign


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _merge_equal_choices(draft: Draft) -> Draft:
    """Equal choices made one: to choose either is to choose that text."""
    kept = tuple(dict.fromkeys(draft.choices))
    return (
        draft
        if len(kept) == len(draft.choices)
        else Draft(draft.prompt, kept, kept.index(draft.choices[draft.gold]))
    )


def _fault_of(draft: Draft) -> Dropped | None:
    if not draft.prompt.strip():
        return Dropped("empty prompt")
    if any(not choice.strip() for choice in draft.choices):
        return Dropped("empty choice")
    if len(draft.choices) < 2:
        return Dropped("only one choice")
    return None
