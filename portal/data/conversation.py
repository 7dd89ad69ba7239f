"""Conversations in token ids by a base's chat template: up to the end of a turn, or to where one starts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from portal.messages import one_line

DEFAULT_TEMPLATE = (
    "{{ start }}{% for message in messages %}"
    "{% if message['content'] is not string or message.get('tool_calls') %}"
    "{{ raise_exception('it has room for texts alone') }}{% endif %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For a base without a template of its own: `User: ...`, `Assistant: ...`, a line for each message.

`start` is the BOS of a tokenizer that puts it before texts.
"""
_CONTENT = "0123456789876543210"
"""Stands for the content of a turn where only what the template writes after it is looked for."""
_NO_END = "neither the chat template nor the tokenizer has a token that ends a turn"


def render_turn(
    conversation: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The messages before the last one with the start of its turn, and the turn with the token that ends it.

    `conversation` is the JSON text of `Written`, whose last message is the assistant's. A tokenizer without a
    chat template gets DEFAULT_TEMPLATE. ValueError where a template cannot render the messages, does not
    continue what it starts a turn with, or neither it nor the tokenizer has a token that ends a turn.
    """
    value = json.loads(conversation)
    messages, tools = value["messages"], value["tools"] or None
    start = _rendered(tokenizer, messages[:-1], tools, add_generation_prompt=True)
    whole = _rendered(tokenizer, messages, tools, add_generation_prompt=False)
    before, ids = (tokenizer(text, add_special_tokens=False).input_ids for text in (start, whole))
    if ids[: len(before)] != before or len(ids) == len(before):
        raise ValueError("the chat template does not go on with the answer where it starts the turn")
    return tuple(before), _ended(tokenizer, ids[len(before) :], _end_of_turn(tokenizer, messages, tools))


def start_turn(
    messages: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[tuple[int, ...], int]:
    """The messages with the start of the assistant's turn, and the token that ends that turn.

    ValueError where a template cannot render them, and where nothing has a token that ends a turn.
    """
    said = [dict(each) for each in messages]
    start = _rendered(tokenizer, said, None, add_generation_prompt=True)
    end = _end_of_turn(tokenizer, [*said, {"role": "assistant", "content": _CONTENT}], None)
    end = tokenizer.eos_token_id if end is None else end
    if end is None:
        raise ValueError(_NO_END)
    return tuple(tokenizer(start, add_special_tokens=False).input_ids), end


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer has a chat template of its own."""
    return tokenizer.chat_template is not None


def template_note(base: str) -> str:
    """What a base without a template of its own reads in place of it."""
    return (
        f"base {base!r} has no chat template: conversations are rendered as lines `User: ...` and "
        "`Assistant: ...`, with its end token after the assistant's"
    )


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[Any], tools: list[Any] | None, **settings: Any
) -> str:
    if not has_template(tokenizer):
        if tools:
            raise ValueError("the tokenizer has no chat template, and the one in its place has no tools")
        adds_bos = tokenizer("x").input_ids[0] == tokenizer.bos_token_id
        settings |= {"chat_template": DEFAULT_TEMPLATE, "start": tokenizer.bos_token if adds_bos else ""}
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **settings)
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the chat template cannot render it ({one_line(error, most=200)})") from None
    assert isinstance(text, str)
    return text


def _end_of_turn(
    tokenizer: PreTrainedTokenizerBase, messages: list[Any], tools: list[Any] | None
) -> int | None:
    """The first special token that the template writes after the content of the last turn, if any."""
    plain = [*messages[:-1], {"role": messages[-1]["role"], "content": _CONTENT}]
    tail = _rendered(tokenizer, plain, tools, add_generation_prompt=False).rpartition(_CONTENT)[2]
    ids = tokenizer(tail, add_special_tokens=False).input_ids
    return next((each for each in ids if not tokenizer.decode([each], skip_special_tokens=True)), None)


def _ended(tokenizer: PreTrainedTokenizerBase, ids: list[int], end: int | None) -> tuple[int, ...]:
    """The turn up to the token that ends it, or with the tokenizer's end token in its place."""
    if end in ids:
        return tuple(ids[: len(ids) - ids[::-1].index(end)])
    if tokenizer.eos_token_id is None:
        raise ValueError(_NO_END)
    return (*ids, tokenizer.eos_token_id)
