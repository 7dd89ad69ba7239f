"""`tokenize`: a task's examples as the token rows of one base."""

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from portal.data.sampling import evaluation_rows
from portal.data.token_rows import TokenRow, encode_examples
from portal.tasks.example import Example

MAX_PROMPT = 768
"""Longest prompt in tokens where none is named; longer ones lose their left end."""


def tokenize(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str = "test",
    max_prompt: int = MAX_PROMPT,
    limit: int | None = None,
) -> tuple[TokenRow, ...]:
    """The examples in token ids, by id; with `limit` a fixed seeded sample of at most so many.

    ValueError, naming task and example, for one that has no tokens or no place to split prompt and answer.
    """
    rows = encode_examples(((example, split) for example in examples), tokenizer, max_prompt=max_prompt)
    rows.sort(key=lambda row: row.id)
    return evaluation_rows(rows, limit or len(rows)) if rows else ()
