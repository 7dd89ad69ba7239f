"""`TokenRow`: an example in token ids; and tables of rows, in memory and in Arrow."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from portal.data.conversation import render_turn
from portal.storage.parquet import column_values
from portal.tasks.example import Example, Written, shared_start

ROW_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("id", pa.string()),
        ("split", pa.string()),
        ("cluster", pa.string()),
        ("prompt", pa.list_(pa.int32())),
        ("choices", pa.list_(pa.list_(pa.int32()))),
        ("gold", pa.int32()),
        ("chars", pa.list_(pa.int32())),
        ("bytes", pa.list_(pa.int32())),
        ("lm_eval_chars", pa.list_(pa.int32())),
        ("unscored", pa.list_(pa.int32())),
        ("truncated", pa.int32()),
        ("references", pa.list_(pa.string())),
    ]
)


_BATCH = 256
"""Examples whose texts are tokenised in one call."""


@dataclass(frozen=True)
class TokenRow:
    """One example in token ids.

    `chars` and `bytes` are the choices' lengths with their leading space, `lm_eval_chars` those without. The
    first `unscored` tokens of a choice are context of its own: read, but neither scored nor trained on. A
    written answer is the one choice, with the token that ends it, and has `references`, one or more: those
    of the example, and what a chat template makes of the first where that is another text.
    """

    task: str
    id: str
    split: str
    cluster: str
    prompt: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    gold: int
    chars: tuple[int, ...]
    bytes: tuple[int, ...]
    lm_eval_chars: tuple[int, ...]
    unscored: tuple[int, ...]
    truncated: int  # tokens cut from the left of the prompt
    references: tuple[str, ...] = ()

    @property
    def gold_ids(self) -> tuple[int, ...]:
        """Prompt followed by the gold answer: what training runs through the base."""
        return self.prompt + self.choices[self.gold]

    @property
    def gold_start(self) -> int:
        """Index in `gold_ids` of the first token that is trained on."""
        return len(self.prompt) + self.unscored[self.gold]

    @cached_property
    def scored_tokens(self) -> tuple[int, ...]:
        """How many tokens of each choice are scored."""
        return tuple(len(choice) - skip for choice, skip in zip(self.choices, self.unscored, strict=True))


class MisalignedError(ValueError):
    """The tokenizer joins the end of a prompt with the start of an answer: no place to split them."""


def encode_example(
    example: Example, split: str, tokenizer: PreTrainedTokenizerBase, *, max_prompt: int
) -> TokenRow:
    """`example` in token ids: prompt and answer tokenised together and split at the boundary.

    White space that ends the prompt moves to the answer. A prompt over `max_prompt` tokens loses its left end
    (a leading BOS stays); an answer is never cut. Tokens that the tokenizer appends to every text, such as an
    end of the turn or of the text, are left out; a written answer ends with one end token, of the chat
    template where it answers a conversation. Raises MisalignedError, naming task and example, when the
    tokenizer merges across the boundary, and ValueError when a prompt or an answer has no tokens, no token
    ends an answer, or a template cannot render a conversation.
    """
    return encode_examples([(example, split)], tokenizer, max_prompt=max_prompt)[0]


def encode_examples(
    examples: Iterable[tuple[Example, str]], tokenizer: PreTrainedTokenizerBase, *, max_prompt: int
) -> list[TokenRow]:
    """The examples with their splits in token ids, as by `encode_example`: many texts in one call."""
    rows = []
    appended = _appended(tokenizer)
    waiting = iter(examples)
    while batch := list(islice(waiting, _BATCH)):
        texts = [_Texts.of(example) for example, _ in batch]
        distinct = list(dict.fromkeys(text for each in texts for text in (*each.contexts, *each.wholes)))
        encoded: list[list[int]] = []
        if distinct:  # conversations have none: their templates make their tokens
            found = tokenizer(distinct, return_attention_mask=False, return_token_type_ids=False)
            encoded = found.input_ids
        ids = {text: own[: len(own) - appended] for text, own in zip(distinct, encoded, strict=True)}
        for (example, split), each in zip(batch, texts, strict=True):
            if example.written is None:
                rows.append(_encode(example, split, each, ids, tokenizer.bos_token_id, max_prompt))
            else:
                rows.append(
                    _encode_written(example, example.written, split, each, ids, tokenizer, max_prompt)
                )
    return rows


def encode_prompt(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """A prompt of no task in token ids, as rows have theirs: without the white space that ends it, and
    without what the tokenizer appends. ValueError when nothing is left.
    """
    ids = tokenizer(text.rstrip()).input_ids
    prompt = tuple(ids[: len(ids) - _appended(tokenizer)])
    if not prompt:
        raise ValueError(f"the prompt {text!r} has no tokens")
    return prompt


def _appended(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens the tokenizer appends to every text: two for Command R+, none for most."""
    added = tokenizer("x", return_special_tokens_mask=True).special_tokens_mask
    return added[::-1].index(0) if 0 in added else 0


@dataclass(frozen=True)
class _Texts:
    """What is tokenised of an example, for each choice: the context, and the context with its answer."""

    contexts: list[str]
    answers: list[str]

    @classmethod
    def of(cls, example: Example) -> "_Texts":
        if example.written is not None:
            if example.written.conversation is not None:
                return cls([], [])  # its template makes the text
            kept = example.prompt.rstrip()
            moved = example.prompt[len(kept) :] + example.choices[0]
            return cls([example.prompt, kept], [example.choices[0], moved])
        contexts = example.contexts or (example.prompt,) * len(example.choices)
        stripped = [context.rstrip() for context in contexts]
        pairs = zip(contexts, stripped, example.choices, strict=True)
        return cls(stripped, [context[len(text) :] + choice for context, text, choice in pairs])

    @property
    def wholes(self) -> list[str]:
        return [context + answer for context, answer in zip(self.contexts, self.answers, strict=True)]


def _encode(
    example: Example, split: str, texts: _Texts, ids_of: Mapping[str, list[int]], bos: int | None, limit: int
) -> TokenRow:
    where = f"task {example.task!r}, example {example.id!r}"
    answers = texts.answers
    before = [ids_of[text] for text in texts.contexts]
    whole = [ids_of[text] for text in texts.wholes]
    for context, ids, answer in zip(before, whole, answers, strict=True):
        if not context:
            raise ValueError(f"{where}: the prompt has no tokens")
        if ids[: len(context)] != context:
            raise MisalignedError(
                f"{where}: the tokenizer merges the prompt's end with the answer {answer!r}"
            )
        if len(ids) == len(context):
            raise ValueError(f"{where}: the answer {answer!r} has no tokens")
    is_one = all(ids is before[0] for ids in before)  # as good as always: then nothing has to be compared
    shared = len(before[0]) if is_one else shared_start(before)
    if shared == 0:
        raise ValueError(f"{where}: the contexts of its choices have no token in common")
    prompt = before[0][:shared]
    choices = tuple(tuple(ids[shared:]) for ids in whole)
    unscored = tuple(len(context) - shared for context in before)
    return _row(example, split, prompt, choices, answers, unscored, _truncate_left(prompt, limit, bos))


def _row(
    example: Example,
    split: str,
    prompt: Sequence[int],
    choices: tuple[tuple[int, ...], ...],
    answers: Sequence[str],
    unscored: tuple[int, ...],
    kept: tuple[int, ...],
) -> TokenRow:
    """A row of these tokens: `answers` are the texts of its choices, `kept` is what is left of `prompt`."""
    return TokenRow(
        task=example.task,
        id=example.id,
        split=split,
        cluster=example.cluster,
        prompt=kept,
        choices=choices,
        gold=example.gold,
        chars=tuple(len(answer) for answer in answers),
        bytes=tuple(len(answer.encode()) for answer in answers),
        lm_eval_chars=tuple(len(choice.removeprefix(" ")) for choice in example.choices),
        unscored=unscored,
        truncated=len(prompt) - len(kept),
    )


def _encode_written(
    example: Example,
    written: Written,
    split: str,
    texts: _Texts,
    ids_of: Mapping[str, list[int]],
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
) -> TokenRow:
    if written.conversation is None:
        # White space that ends the prompt stays there, unless its tokens run into the answer's.
        context, stripped = texts.contexts
        whole, start = ids_of[texts.wholes[0]], ids_of[context]
        place = int(not start or whole[: len(start)] != start or context == stripped)
        texts = _Texts(texts.contexts[place : place + 1], texts.answers[place : place + 1])
        row = _encode(example, split, texts, ids_of, tokenizer.bos_token_id, limit)
        end = tokenizer.eos_token_id
        if end is None:
            raise ValueError(f"task {example.task!r}: the tokenizer has no token that ends an answer")
        return replace(row, choices=((*row.choices[0], end),), references=written.references)
    try:
        prompt, answer = render_turn(written.conversation, tokenizer)
    except ValueError as error:
        raise ValueError(f"task {example.task!r}, example {example.id!r}: {error}") from None
    rendered = str(tokenizer.decode(list(answer), skip_special_tokens=True)).strip()
    own = (rendered,) if rendered not in {each.strip() for each in written.references} else ()
    kept = _truncate_left(list(prompt), limit, tokenizer.bos_token_id)
    row = _row(example, split, prompt, (answer,), example.choices, (0,), kept)
    return replace(row, references=(*written.references, *own))


@dataclass(frozen=True)
class Extent:
    """The highest token id of any prompt or choice, and the greatest lengths in tokens."""

    max_token: int
    longest: int  # of a prompt with one of its choices
    longest_choice: int | None  # None in caches that did not record it

    def check(self, base: str, config: PretrainedConfig) -> None:
        """ValueError when a base with this text config has no such token or no room for such a length."""
        if self.max_token >= config.vocab_size:
            raise ValueError(
                f"base {base!r} knows {config.vocab_size} tokens, its rows use id {self.max_token}: "
                "they were made with another tokenizer"
            )
        if (limit := _fixed_angles(config)) is not None and self.longest > limit:
            raise ValueError(
                f"base {base!r} has rotary angles that hang on the longest row of a forward beyond {limit} "
                f"tokens: rows would change each other's scores; the longest has {self.longest}; "
                f"{self._remedy(limit)}"
            )
        context = getattr(config, "max_position_embeddings", None)
        if context is not None and self.longest > context:
            raise ValueError(
                f"base {base!r} reads at most {context} tokens, the longest prompt with its choice has "
                f"{self.longest}; {self._remedy(context)}"
            )

    def _remedy(self, context: int) -> str:
        """Advice that makes every row fit into `context` tokens; prompts can be cut, choices never are."""
        if self.longest_choice is None:
            return "lower max_prompt, or shorten the choice if it alone is too long: only prompts are cut"
        room = context - self.longest_choice
        if room < 1:
            return (
                f"a choice is too long, it alone has {self.longest_choice}: shorten it or leave its row out "
                "(choices are never cut)"
            )
        return (
            f"the prompt is too long: lower max_prompt to at most {room} (--max-prompt of `portal eval`, "
            "`max_prompt` of a study)"
        )


def extent_of(rows: Sequence[TokenRow]) -> Extent:
    """The extent of the rows; of none, which every base can read, zeros."""
    if not rows:
        return Extent(0, 0, 0)
    return Extent(
        max(max(*row.prompt, *(token for choice in row.choices for token in choice)) for row in rows),
        max(len(row.prompt) + max(len(choice) for choice in row.choices) for row in rows),
        max(len(choice) for row in rows for choice in row.choices),
    )


def position_limit(config: PretrainedConfig) -> int | None:
    """Tokens that a row of a base with this text config may have; None where nothing limits them."""
    limits = (_fixed_angles(config), getattr(config, "max_position_embeddings", None))
    return min((limit for limit in limits if limit is not None), default=None)


def _fixed_angles(config: PretrainedConfig) -> int | None:
    """Tokens up to which rotary angles depend on positions alone; None where they always do."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in ("longrope", "dynamic"):
        return None
    limit: int = rope.get("original_max_position_embeddings") or config.max_position_embeddings
    return limit


class RowTable:
    """Rows of many tasks and splits, each (task, split) sorted by id."""

    def __init__(self, rows: Iterable[TokenRow]) -> None:
        groups: dict[tuple[str, str], list[TokenRow]] = {}
        for row in rows:
            groups.setdefault((row.task, row.split), []).append(row)
        self._rows: Mapping[tuple[str, str], Sequence[TokenRow]] = {
            key: tuple(sorted(group, key=lambda row: row.id)) for key, group in groups.items()
        }

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted({task for task, _ in self._rows}))

    def has(self, task: str, split: str) -> bool:
        """Whether `task` has rows in `split`; one that is only taught may have none to score."""
        return (task, split) in self._rows

    def rows(self, task: str, split: str) -> Sequence[TokenRow]:
        """Rows of `task` in `split`, by id; ValueError when there are none."""
        if (task, split) not in self._rows:
            raise ValueError(f"task {task!r} has no rows in split {split!r}")
        return self._rows[task, split]

    @cached_property
    def extent(self) -> "Extent":
        """The highest token id and the greatest length of the rows."""
        return extent_of(self.all())

    def all(self) -> list[TokenRow]:
        """Every row, ordered by task, split and id."""
        return [row for key in sorted(self._rows) for row in self._rows[key]]


def rows_to_table(rows: Iterable[TokenRow]) -> pa.Table:
    """The rows as an Arrow table of `ROW_SCHEMA`."""
    rows = list(rows)
    return pa.table(
        {name: [getattr(row, name) for row in rows] for name in ROW_SCHEMA.names}, schema=ROW_SCHEMA
    )


def table_to_rows(table: pa.Table) -> list[TokenRow]:
    """The inverse of `rows_to_table`."""
    columns = (column_values(table[name]) for name in ROW_SCHEMA.names)
    return [TokenRow(*values) for values in zip(*columns, strict=True)]


def eval_set_hash(rows: Iterable[TokenRow], judging: str | None = None) -> str:
    """Hex sha256 over ids, answer lengths and gold of the scored rows, the same for every tokenizer; of
    written answers also over how they are judged.
    """
    identity: list[Any] = [(row.task, row.split, row.id, row.chars, row.bytes, row.gold) for row in rows]
    if judging is not None:
        identity.append(judging)
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _truncate_left(prompt: list[int], limit: int, bos: int | None) -> tuple[int, ...]:
    if len(prompt) <= limit:
        return tuple(prompt)
    if bos is not None and prompt[0] == bos and limit > 1:
        return (bos, *prompt[len(prompt) - limit + 1 :])
    return tuple(prompt[-limit:])
