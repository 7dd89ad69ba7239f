"""Rows with written answers: a prompt and right answers, an instruction and its output, a conversation."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from portal.tasks.builder import Draft, Drafted, Dropped
from portal.tasks.example import Written
from portal.tasks.records import Record

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
