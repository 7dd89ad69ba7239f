"""`Builder`: makes the examples of a task, with choices or written answers, from records of one data set."""

import hashlib
import json
import math
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from portal.tasks.example import Example, Lint, Written, text_of
from portal.tasks.records import HubSource, Record, column_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
VALIDATION_SHARE, VALIDATION_ROWS = 0.1, 500
TEST_SHARE, TEST_ROWS = 0.2, 1000
"""A split that a data set lacks is carved from its rows: this share of them, and at most this number."""


Clustering = Callable[[Sequence[Record]], Sequence[str | None]]
"""A name per row for the cluster it is in; None for a row that is in none."""


@dataclass(frozen=True)
class Draft:
    """A record as text: choices have their leading space and are in the publisher's order.

    With `written` the one choice is the answer that is trained on.
    """

    prompt: str
    choices: tuple[str, ...]
    gold: int
    written: Written | None = None


@dataclass(frozen=True)
class Dropped:
    """A record that cannot be a question, and why. It is counted, never passed over in silence."""

    reason: str


Drafted = Draft | Dropped | tuple[Draft | Dropped, ...]
"""What becomes of a record; several are the turns of a conversation."""


@dataclass(frozen=True)
class Builder:
    """A data set as a task. `draft` raises KeyError for a missing column and ValueError for a bad value.

    Several drafts of a record are the turns of a conversation, which are rows of one cluster.
    `train`, `validation` and `test` are the publisher's splits. Without `validation` a slice is carved from
    the training rows; without `test`, another one, or the rows from the share `test_from` on. Where `carves`
    is false a split that is not published stays empty.
    """

    task: str
    hub: HubSource | None
    licence: str
    columns: tuple[str, ...]
    draft: Callable[[Record], Drafted]
    cluster: Clustering | None = None  # None: rows of the same text are one cluster
    train: str = "train"
    validation: str | None = None
    test: str | None = "validation"
    test_from: float | None = None
    carves: bool = True

    @property
    def splits(self) -> tuple[str, ...]:
        """The publisher's splits that are read."""
        return tuple(dict.fromkeys(name for name in (self.train, self.validation, self.test) if name))

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits that some of its training rows become."""
        published = {"validation": self.validation, "test": self.test}
        return tuple(split for split, name in published.items() if self.carves and name is None)

    def examples(self, read: Callable[[str], Sequence[Record]]) -> tuple[dict[str, list[Example]], Lint]:
        """Make train, validation and test examples of the records that `read(split)` returns; and the Lint.

        Carved slices keep clusters whole; the rows from `test_from` on are cut by their place. Raises
        ValueError, naming task, split and row, for a missing column or a malformed value.
        """
        lint = Lint()
        converted = {split: self._convert(split, read(split), lint) for split in self.splits}
        rest, parts = converted[self.train], dict[str, list[Example]]()
        for part, published, share, most in (
            ("test", self.test, TEST_SHARE, TEST_ROWS),
            ("validation", self.validation, VALIDATION_SHARE, VALIDATION_ROWS),
        ):
            if published is not None:
                parts[part] = converted[published]
            elif part == "test" and self.test_from is not None:
                first = math.floor(len(rest) * self.test_from)
                rest, parts[part] = rest[:first], rest[first:]
            elif self.carves:
                rest, parts[part] = carve(self.task, rest, share=share, most=most, lint=lint)
            else:
                parts[part] = []
        return {"train": rest, "validation": parts["validation"], "test": parts["test"]}, lint

    def _convert(self, split: str, records: Sequence[Record], lint: Lint) -> list[Example]:
        for index, record in enumerate(records):
            self._check_columns(split, index, record)
        examples = []
        clusters = self._clusters(split, records)
        for index, record in enumerate(records):
            name = f"{split}-{index:06d}"
            drafted = self._draft(split, index, record)
            if isinstance(drafted, Draft) and drafted.written is None:
                whole = _merge_equal_choices(drafted)
                lint.merged[split] = lint.merged.get(split, 0) + (whole != drafted)
                drafted = _fault_of(whole) or whole
            every = drafted if isinstance(drafted, tuple) else (drafted,)
            drafts = [each for each in every if isinstance(each, Draft)]
            for each in every:
                if isinstance(each, Dropped):
                    lint.drop(split, each.reason, index)
            if not drafts:
                continue
            names = [name] if len(drafts) == 1 else [f"{name}-{turn:03d}" for turn in range(len(drafts))]
            rows = [
                Example(self.task, own, draft.prompt, draft.choices, draft.gold, "", None, draft.written)
                for own, draft in zip(names, drafts, strict=True)
            ]
            cluster = _digest(*map(str, text_of(rows[-1])))[:12] if clusters is None else clusters[index]
            if cluster is None:
                lint.unclustered.update(names)
                cluster = str(index)
            examples += [shuffle_choices(replace(row, cluster=cluster)) for row in rows]
        if not examples:
            raise ValueError(
                f"task {self.task!r}, split {split!r}: no usable row among {len(records)}{lint.why_few()}"
            )
        return examples

    def _clusters(self, split: str, records: Sequence[Record]) -> Sequence[str | None] | None:
        if self.cluster is None:
            return None
        try:
            return self.cluster(records)
        except KeyError as error:
            raise ValueError(f"task {self.task!r}, split {split!r}: rows without {error.args[0]!r}") from None

    def _draft(self, split: str, index: int, record: Record) -> Drafted:
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


def check_name(name: str, what: Literal["task", "kind"]) -> None:
    """ValueError for a name that cannot be that of a folder: adapters are written under a task's."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no {what} name: letters, digits, '.', '_' and '-', at most 100, "
            "the first one a letter or digit"
        )


def shuffle_choices(example: Example) -> Example:
    """Order the choices by a draw from task and id, so that the position does not tell the gold choice."""
    seed = hashlib.sha256(f"{example.task}\n{example.id}".encode()).digest()
    order = list(range(len(example.choices)))
    random.Random(seed).shuffle(order)
    choices = tuple(example.choices[index] for index in order)
    return replace(example, choices=choices, gold=order.index(example.gold))


def carve(
    task: str, examples: Sequence[Example], *, share: float, most: int, lint: Lint
) -> tuple[list[Example], list[Example]]:
    """Hold out whole clusters, drawn by a hash of their names, until they have `share` of the rows.

    Returns the rest and the rows held out.
    At least one cluster is carved and one stays; `most` rows are enough. ValueError, with the dropped rows
    of `lint`, when the rows are fewer than two clusters.
    """
    wanted = min(math.ceil(len(examples) * share), most)
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.cluster] = sizes.get(example.cluster, 0) + 1
    if len(sizes) < 2:
        shared = f"all {len(examples)} rows share one cluster"
        left = shared if len(examples) > 1 else "fewer than two rows are left"
        raise ValueError(
            f"task {task!r}: {left}: none can be held out; give more rows, or rows of their own for "
            f"validation and test (portal teach --no-hold-out needs none){lint.why_few()}"
        )
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
    """Put rows with the same text in `columns` into one cluster, whatever their case and spacing."""

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
    """Merge equal choices, as to choose either is to choose the same text."""
    kept = tuple(dict.fromkeys(draft.choices))
    return Draft(draft.prompt, kept, kept.index(draft.choices[draft.gold]))


def _fault_of(draft: Draft) -> Dropped | None:
    if not draft.prompt.strip():
        return Dropped("empty prompt")
    if any(not choice.strip() for choice in draft.choices):
        return Dropped("empty choice")
    if len(draft.choices) < 2:
        return Dropped("only one choice")
    return None


COLUMNS = (("prompt", "answers"), ("prompt", "answer"), ("messages",), ("instruction", "output"))
"""By what columns rows with written answers are known, each form before those that it is mistaken for."""
ROLES = ("system", "developer", "user", "assistant", "tool")


def written_columns(names: Collection[str]) -> tuple[str, ...] | None:
    """The first of COLUMNS that the rows have; None for rows of another kind."""
    return next((each for each in COLUMNS if set(each) <= set(names)), None)


def draft_row(record: Record, columns: tuple[str, ...]) -> Drafted:
    """A row with one of COLUMNS as drafts; ValueError for a value of another kind."""
    if any(record[column] is None for column in columns):
        return Dropped(f"no {next(column for column in columns if record[column] is None)}")
    if columns == ("messages",):
        return draft_turns(record["messages"], record.get("tools"))
    if columns == ("instruction", "output"):
        asked = [record["instruction"], record.get("input")]
        text = "\n\n".join(_text(part, "instruction and input") for part in asked if part)
        answer = {"role": "assistant", "content": _text(record["output"], "output")}
        return draft_turns([{"role": "user", "content": text}, answer], None)
    answers = record[columns[1]]
    own = [answers] if columns[1] == "answer" else answers
    return draft_answer(_text(record["prompt"], "prompt"), own, record.get("tests"))


def draft_answer(prompt: str, references: Any, tests: Any = None) -> Draft | Dropped:
    """A prompt with one or more right answers, the first of which is trained on, with a space in front where
    no white space parts it from the prompt. Where there are `tests`, answers are judged by these instead.
    """
    if references is None:
        return Dropped("no answer")
    if not isinstance(references, list):
        raise ValueError(f"answers must be a list of texts, got {references!r}")
    if any(each is None for each in references) or not references:
        return Dropped("no answer")
    texts = tuple(_text(each, "an answer") for each in references)
    parted = texts[0][:1].isspace() or prompt[-1:].isspace()
    first = texts[0] if parted else f" {texts[0]}"
    draft = _checked(Draft(prompt, (first,), 0, Written(texts)))
    if tests is None or isinstance(draft, Dropped):
        return draft
    judged = tuple(_text(each, "tests") for each in (tests if isinstance(tests, list) else [tests]))
    if not judged or any(not each.strip() for each in judged):
        return Dropped("no test, or an empty one")
    return replace(draft, written=Written(judged))


def draft_turns(messages: Any, tools: Any) -> Drafted:
    """A draft for each of the assistant's turns: what precedes a turn is its prompt.

    A turn that calls tools has the calls as its answer, as JSON. ValueError for messages that are none.
    """
    if messages is None:
        return Dropped("no messages")
    messages, tools = _parsed(messages), _parsed(tools)
    _check_messages(messages)
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant" and place]
    if not turns:
        return Dropped("no turn of the assistant")
    return tuple(_turn(messages[: place + 1], tools) for place in turns)


def _turn(messages: Sequence[Mapping[str, Any]], tools: Any) -> Draft | Dropped:
    answer = _content(messages[-1])
    prompt = "\n".join(f"{message['role']}: {_content(message)}" for message in messages[:-1])
    whole = json.dumps({"messages": messages, "tools": tools}, ensure_ascii=False)
    return _checked(Draft(prompt, (answer,), 0, Written((answer,), whole)))


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message; of one without, its calls of tools as JSON."""
    content = message.get("content")
    if not content and message.get("tool_calls"):
        return json.dumps(message["tool_calls"], ensure_ascii=False)
    return _text("" if content is None else content, "the content of a message")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise ValueError(f"messages must be a list of objects with role and content, got {messages!r}")
    for message in messages:
        if message.get("role") not in ROLES:
            raise ValueError(f"role {message.get('role')!r} is none of {', '.join(ROLES)}")


def _checked(draft: Draft) -> Draft | Dropped:
    if not draft.prompt.strip():
        return Dropped("empty prompt")
    assert draft.written is not None
    if any(not reference.strip() for reference in draft.written.references):
        return Dropped("empty answer")
    return draft


def _parsed(value: Any) -> Any:
    """Some publishers keep messages and tools as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"not readable as JSON ({error})") from None


def _text(value: Any, what: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{what} must be text, got {value!r}")
    return value
