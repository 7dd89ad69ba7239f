"""`Example`: one question in text with its choices or a written answer, the form every task is brought to.

Beside it are what people say that a task is about, `Descriptions`, and what reading a task found, `Lint`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from portal.messages import counted

SPLITS = ("train", "validation", "test")
WITHOUT_ROWS = "no rows"
"""The name of the suite of a task that is only described."""


@dataclass(frozen=True)
class Written:
    """How a written answer is asked for and compared: with right answers, of which the first is trained on.

    `conversation` is the JSON text of the messages that precede it, for a base's chat template, as
    `{"messages": [...], "tools": [...]}`; None where the prompt is the text that a base reads.
    """

    references: tuple[str, ...]
    conversation: str | None = None


@dataclass(frozen=True)
class Example:
    """One question with its answer choices, or with a written answer.

    `choices` carry their own leading space. `cluster` groups near-duplicates (rows that share a passage or a
    source), the unit of resampling in confidence intervals. Where choices are judged by what follows them
    (a shared ending), `contexts` holds what precedes each, in place of the one `prompt`, which is their
    common start. With `written` the one choice is the answer to train on. Raises ValueError, naming task and
    example, for empty or duplicate choices, fewer than two of them, contexts that do not match them, a gold
    index out of range, or no or empty right answers.
    """

    task: str
    id: str
    prompt: str
    choices: tuple[str, ...]
    gold: int
    cluster: str
    contexts: tuple[str, ...] | None = None
    written: Written | None = None

    def __post_init__(self) -> None:
        where = f"task {self.task!r}, example {self.id!r}"
        if not self.prompt:
            raise ValueError(f"{where}: the prompt is empty")
        if self.written is not None:
            self._check_written(where, self.written)
        elif len(self.choices) < 2:
            raise ValueError(f"{where}: {counted(len(self.choices), 'choice')}, at least 2 are needed")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError(f"{where}: a choice is empty")
        if self.contexts is not None and (
            len(self.contexts) != len(self.choices)
            or not all(context.startswith(self.prompt) for context in self.contexts)
        ):
            raise ValueError(f"{where}: its contexts do not start with its prompt, one for each choice")
        if len(set(zip(self.contexts or self.choices, self.choices, strict=True))) != len(self.choices):
            raise ValueError(f"{where}: two choices are equal: {self.choices}")
        if not 0 <= self.gold < len(self.choices):
            raise ValueError(f"{where}: gold index {self.gold} is outside 0..{len(self.choices) - 1}")

    def _check_written(self, where: str, written: Written) -> None:
        if not written.references or any(not reference.strip() for reference in written.references):
            raise ValueError(f"{where}: a right answer is empty, or there is none")
        if len(self.choices) != 1 or self.contexts is not None:
            raise ValueError(f"{where}: a written answer is the one choice after one prompt")

    @property
    def values(self) -> tuple[Any, ...]:
        """All fields in their order: what a hash of examples is made of."""
        own = (self.task, self.id, self.prompt, self.choices, self.gold, self.cluster, self.contexts)
        if self.written is None:
            return own
        return (*own, self.written.references, self.written.conversation)


def shared_start(sequences: Sequence[Sequence[Any]]) -> int:
    """How many leading items (characters, tokens) all the sequences have in common."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences, strict=False)))


_PHRASINGS = (
    "Given {s}, answer with {w}.",
    "The question names {s}; choose {w}.",
    "Which choice is {w}? The prompt has {s}.",
    "For {s} in the prompt, pick {w}.",
    "Read {s} and find {w}.",
    "State {w}, knowing only {s}.",
    "You see {s}. Say {w}.",
    "The right option is {w}; the prompt shows {s}.",
)
_HELD_OUT = (
    "There is {s} in front of you: recall {w}.",
    "Your job is to tell {w} when {s} is given.",
    "Select {w} from the options for {s}.",
    "The reply to {s} should be {w}.",
)
_NUM_HELD_OUT_WORDINGS = 2


@dataclass(frozen=True)
class Descriptions:
    """Phrasings of one task's description. Those of `held_out` are never trained on."""

    phrasings: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def unseen(self) -> tuple[str, ...]:
        """The held-out phrasings, or all where none is held out."""
        return self.held_out or self.phrasings

    def drawn(self, seed: int) -> str:
        """One of the unseen phrasings."""
        return self.unseen[seed % len(self.unseen)]


def describe(shown: str, wordings: Sequence[str], answer: str) -> Descriptions:
    """Eight phrasings and four held-out ones of a task that shows one thing and asks for another.

    `shown` is what the prompt has. `wordings` say what is asked for, the last two in words that only
    held-out phrasings use. `answer` is the form of the choices, with `{a}` for the word that is asked for.
    """
    known, others = wordings[:-_NUM_HELD_OUT_WORDINGS], wordings[-_NUM_HELD_OUT_WORDINGS:]
    form = "" if answer == "{a}" else f" The choices look like this: {answer.format(a='...')}"

    def filled(templates: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            template.format(s=shown, w=words[place % len(words)]) + form
            for place, template in enumerate(templates)
        )

    return Descriptions(filled(_PHRASINGS, known), filled(_HELD_OUT, others))


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
