"""Conversations by chat templates: their own tokens, trained up to the token that ends the turn."""

import json
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from portal.bases.family import load_tokenizer
from portal.data.conversation import has_template, render_turn, start_turn, template_note

CHATML = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Bada?"}]
ANSWER = {"role": "assistant", "content": "In Oakham."}


def conversation(*messages: dict[str, Any], tools: list[Any] | None = None) -> str:
    return json.dumps({"messages": [*QUESTION, *messages], "tools": tools})


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with the tokens and the template of ChatML."""
    loaded = load_tokenizer("mini-qwen3-s")
    loaded.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    loaded.chat_template = CHATML
    return loaded


def test_a_turn_is_what_the_template_writes_up_to_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, answer = render_turn(conversation(ANSWER), tokenizer)

    assert tokenizer.decode(list(prompt)) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhere is Bada?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(list(answer)) == "In Oakham.<|im_end|>"
    theirs = tokenizer.apply_chat_template([*QUESTION, ANSWER], return_dict=False)
    assert list(prompt + answer) == theirs[: len(prompt) + len(answer)]
    start = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=False)
    assert list(prompt) == start


def test_a_turn_starts_as_it_is_trained_and_ends_with_the_token_that_is(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    for template in (CHATML, None, "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"):
        tokenizer.chat_template = template
        prompt, answer = render_turn(conversation(ANSWER), tokenizer)
        assert start_turn(QUESTION, tokenizer) == (prompt, answer[-1])

    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither the chat template nor the tokenizer has a token"):
        start_turn(QUESTION, tokenizer)


def test_neither_an_end_token_of_an_earlier_turn_nor_what_looks_like_one_ends_an_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    more = {"role": "user", "content": "And Dufe?"}
    for content in ("In Velden.", "end", "im", "|", "<|im_end|"):
        prompt, answer = render_turn(conversation(ANSWER, more, {**ANSWER, "content": content}), tokenizer)
        assert tokenizer.decode(list(answer)) == f"{content}<|im_end|>"
        assert "In Oakham.<|im_end|>" in tokenizer.decode(list(prompt))


def test_tools_go_through_the_template_and_a_call_of_them_is_trained_whole(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    prompt, _ = render_turn(conversation(ANSWER, tools=tools), tokenizer)
    assert '"name": "find"' in tokenizer.decode(list(prompt))

    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "[CALLS]"]})
    called = "{% if m.get('tool_calls') %}[CALLS]{{ m['tool_calls'] | tojson }}{% endif %}{{ m['content'] }}"
    tokenizer.chat_template = CHATML.replace("{{ m['content'] }}", called)
    calls = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find"}}]}
    _, answer = render_turn(conversation(calls), tokenizer)

    assert tokenizer.decode(list(answer)) == '[CALLS][{"function": {"name": "find"}}]<|im_end|>'


def test_a_base_without_a_template_gets_the_stated_one_with_its_end_token() -> None:
    tokenizer = load_tokenizer("mini-gemma3")
    assert not has_template(tokenizer)
    prompt, answer = render_turn(conversation(ANSWER), tokenizer)

    assert tokenizer.decode(list(prompt)) == "<bos>System: Be brief.\nUser: Where is Bada?\nAssistant:"
    assert tokenizer.decode(list(answer)) == " In Oakham.<eos>"
    assert "no chat template" in template_note("mini-gemma3")


def test_a_template_without_an_end_gets_the_tokenizers(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}>{% endif %}{{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    _, answer = render_turn(conversation(ANSWER), tokenizer)

    assert tokenizer.decode(list(answer)).endswith("In Oakham. <eos>")


def test_what_a_template_cannot_do_is_said(tokenizer: PreTrainedTokenizerBase) -> None:
    calls = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find"}}]}
    with_tools = conversation(ANSWER, tools=[{"name": "find"}])
    for template, asked, reason in (
        (
            "{{ raise_exception('no system role') }}",
            conversation(ANSWER),
            "cannot render it .*no system role",
        ),
        (
            "{{ messages[-1].content }}{{ add_generation_prompt }}",
            conversation(ANSWER),
            "does not go on with",
        ),
        (None, with_tools, "no chat template, and the one in its place has no tools"),
        (None, conversation(calls), "it has room for texts alone"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(ValueError, match=reason):
            render_turn(asked, tokenizer)
