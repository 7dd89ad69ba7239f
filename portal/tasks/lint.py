"""`Lint`: what reading a task found: rows that are left out, and doubtful rows that stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.tasks.example import Example


@dataclass
class Lint:
    """Counts of rows: `dropped` and `merged` per split of the publisher, `duplicates` per split of ours."""

    dropped: dict[tuple[str, str], int] = field(default_factory=dict)  # by (publisher's split, reason)
    first_dropped: dict[tuple[str, str], int] = field(default_factory=dict)  # the first such row's index
    unread: dict[str, int] = field(default_factory=dict)  # rows that no split reads, by where they are
    merged: dict[str, int] = field(default_factory=dict)  # rows with equal choices, made one
    duplicates: dict[str, int] = field(default_factory=dict)  # rows whose text the split has already
    shared_clusters: int = 0  # clusters of test rows that training or validation rows have too
    repeated: int = 0  # test rows whose text training or validation rows have too
    unspaced: int = 0  # rows with a choice that no white space parts from the prompt
    unclustered: set[str] = field(default_factory=set)  # ids of rows that name no cluster in a task that does

    def drop(self, split: str, reason: str, index: int) -> None:
        """Count a row of the publisher's `split` as left out for `reason`."""
        self.dropped[split, reason] = self.dropped.get((split, reason), 0) + 1
        self.first_dropped.setdefault((split, reason), index)

    def compare(self, splits: Mapping[str, Sequence[Example]]) -> None:
        """Count what only the finished splits show: repeated texts, shared clusters, missing white space."""
        seen = {name: _Seen.of(examples, self.unclustered) for name, examples in splits.items()}
        test, before = seen["test"], (seen["train"], seen["validation"])
        self.duplicates = {name: len(each.texts) - len(set(each.texts)) for name, each in seen.items()}
        earlier_texts = {text for each in before for text in each.texts}
        self.repeated = sum(text in earlier_texts for text in test.texts)
        self.shared_clusters = len(
            {
                cluster
                for each in before
                for cluster in test.named & each.clusters | test.clusters & each.named
            }
        )
        self.unspaced = sum(each.unspaced for each in seen.values())

    def counts(self) -> tuple[int, int, int, int, int]:
        """Numbers of: rows dropped, rows that repeat another row of their split, test rows that repeat a row
        of another split, rows with equal choices, and clusters that test rows share with other splits.
        """
        return (
            sum(self.dropped.values()),
            sum(self.duplicates.values()),
            self.repeated,
            sum(self.merged.values()),
            self.shared_clusters,
        )

    def reasons(self) -> list[str]:
        """Why rows were dropped: one line per split and reason, with the index of the first such row."""
        return [
            f"{count} of split {split}: {why} (first: row {self.first_dropped[split, why]})"
            for (split, why), count in sorted(self.dropped.items())
        ]

    def why_few(self) -> str:
        """The tail of an error about too few rows: which rows were dropped and why; empty where none were."""
        return f"; dropped rows: {'; '.join(self.reasons())}" if self.dropped else ""

    def remarks(self) -> list[str]:
        """What a user should know of the rows: dropped, unread, and without white space; one line each."""
        unread = [f"no split reads the rows of {place}: {count}" for place, count in self.unread.items()]
        spaceless = (
            f"rows with a choice that does not start with white space: {self.unspaced}; its tokens continue "
            'the prompt\'s last word ("yes" and " yes" differ in tokens); a task file puts a space in front'
        )
        return [*self.reasons(), *unread, *([spaceless] if self.unspaced else [])]

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {
            "dropped": [
                {"split": split, "reason": why, "rows": count, "first": self.first_dropped[split, why]}
                for (split, why), count in sorted(self.dropped.items())
            ],
            "unread": self.unread,
            "equal_choices": self.merged,
            "duplicates": self.duplicates,
            "repeated_in_test": self.repeated,
            "shared_clusters": self.shared_clusters,
            "choices_without_space": self.unspaced,
        }


@dataclass
class _Seen:
    """One pass over a split: the texts of its rows, and its clusters."""

    texts: list[tuple[str, tuple[str, ...]]]
    clusters: set[str]
    named: set[str]  # clusters that a row names by something else than its own id
    unspaced: int

    @classmethod
    def of(cls, examples: Sequence[Example], unclustered: set[str]) -> "_Seen":
        """Look at all `examples`. Those with an id in `unclustered` count in no cluster.

        An example whose cluster is its own id may be alone in it: ids are often numbered anew in each split,
        so that the same id in two splits does not yet make a shared cluster.
        """
        seen = cls([], set(), set(), 0)
        for example in examples:
            seen.texts.append(text_of(example))
            seen.unspaced += _is_unspaced(example)
            if example.id not in unclustered:
                seen.clusters.add(example.cluster)
                if example.cluster != example.id:
                    seen.named.add(example.cluster)
        return seen


def text_of(example: Example) -> tuple[str, tuple[str, ...]]:
    """The text by which two rows are the same question: the prompt, and the choices in any order."""
    return example.prompt, tuple(sorted(example.choices))


def _is_unspaced(example: Example) -> bool:
    """Whether no white space stands between some choice and what precedes it; a chat template parts turns."""
    if example.written is not None and example.written.conversation is not None:
        return False
    contexts = example.contexts or (example.prompt,) * len(example.choices)
    return any(
        not (context[-1:].isspace() or choice[:1].isspace())
        for context, choice in zip(contexts, example.choices, strict=True)
    )
