"""Rows are exact splits of one whole encoding, and their cache is whole or refused."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from portal.bases.family import load_tokenizer
from portal.data.token_rows import (
    ROW_SCHEMA,
    Extent,
    RowTable,
    TokenRow,
    encode_example,
    eval_set_hash,
    extent_of,
    rows_to_table,
    table_to_rows,
)
from portal.tasks.example import Example, Written
from tests.support.bases import character_tokenizer, make_base, make_rows

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "red green blue",
    "to be or not to be",
    "the end",
] * 3
WORDS = st.lists(st.sampled_from([*" ".join(CORPUS).split(), "zebra", "42", "ü?"]), min_size=1, max_size=6)


def subword_tokenizer(*, bos: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>" if bos else None)


SUBWORDS = {bos: subword_tokenizer(bos=bos) for bos in (False, True)}
CHARACTERS = {bos: character_tokenizer(bos=bos) for bos in (False, True)}


def example(prompt: str, *choices: str, gold: int = 0) -> Example:
    return Example("colours", "7", prompt, choices, gold, "c")


@given(bos=st.booleans(), prompt=WORDS, first=WORDS, second=WORDS)
@settings(max_examples=50)
def test_prompt_and_answer_are_one_whole_encoding_split_at_the_boundary(
    bos: bool, prompt: list[str], first: list[str], second: list[str]
) -> None:
    tokenizer = SUBWORDS[bos]
    text = " ".join(prompt)
    answers = (" " + " ".join(first), " " + " ".join(second) + "!")

    row = encode_example(example(text, *answers, gold=1), "test", tokenizer, max_prompt=1000)

    assert list(row.prompt) == tokenizer(text).input_ids
    for answer, choice in zip(answers, row.choices, strict=True):
        assert list(row.prompt + choice) == tokenizer(text + answer).input_ids
        assert tokenizer.decode(choice) == answer
    assert row.gold_ids == row.prompt + row.choices[1]
    assert row.truncated == 0


@given(
    prompt=st.text(string.ascii_letters, min_size=1, max_size=9),
    spaces=st.text(" \n\t", max_size=3),
    choice=st.text(string.ascii_letters, min_size=1, max_size=4),
)
def test_the_white_space_that_ends_a_prompt_belongs_to_the_answer(
    prompt: str, spaces: str, choice: str
) -> None:
    tokenizer = CHARACTERS[False]

    row = encode_example(example(prompt + spaces, choice, choice + "x"), "test", tokenizer, max_prompt=100)

    assert list(row.prompt) == tokenizer(prompt).input_ids
    assert list(row.choices[0]) == tokenizer(spaces + choice).input_ids
    assert list(row.choices[1]) == tokenizer(spaces + choice + "x").input_ids


def test_lengths_are_characters_and_bytes_with_the_leading_space_and_characters_without_it() -> None:
    row = encode_example(example("colour?", " grün", " red"), "test", SUBWORDS[False], max_prompt=100)

    assert row.chars == (5, 4)
    assert row.bytes == (6, 4)
    assert row.lm_eval_chars == (4, 3)


@given(bos=st.booleans(), length=st.integers(1, 30), limit=st.integers(2, 35))
def test_a_long_prompt_loses_its_left_end_and_keeps_its_bos_and_its_answers(
    bos: bool, length: int, limit: int
) -> None:
    tokenizer = CHARACTERS[bos]
    prompt = string.ascii_letters[:length]
    whole = tokenizer(prompt).input_ids

    answer = " " + "y" * 50
    row = encode_example(example(prompt, answer, " no"), "test", tokenizer, max_prompt=limit)

    assert len(row.prompt) == min(limit, len(whole))
    assert row.truncated == len(whole) - len(row.prompt)
    body = list(row.prompt[1:] if bos else row.prompt)
    assert not bos or row.prompt[0] == tokenizer.bos_token_id
    assert body == whole[len(whole) - len(body) :]
    assert row.choices[0] == tuple(tokenizer(answer, add_special_tokens=False).input_ids)


def test_what_a_tokenizer_cannot_split_is_refused_naming_task_and_example() -> None:
    model = models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    merging = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    for prompt, first, second, message in (
        ("a", "a", "b", "the tokenizer merges the prompt's end with the answer 'b'"),
        ("a", "a", "z", "the answer 'z' has no tokens"),
        ("z", "a", "b", "the prompt has no tokens"),
    ):
        with pytest.raises(ValueError, match=f"task 'colours', example '7': {message}"):
            encode_example(example(prompt, first, second), "test", merging, max_prompt=9)


def test_tokens_that_a_tokenizer_appends_to_every_text_are_left_out() -> None:
    ours = example("the end of the lazy fox ", "zebra", "dog")
    for bos, template in ((False, "$A <end> <eos>"), (True, "<bos> $A <end> <eos>")):
        appending = subword_tokenizer(bos=False)
        appending.add_special_tokens({"extra_special_tokens": ["<end>", "<eos>"]})
        specials = [(token, appending.convert_tokens_to_ids(token)) for token in ("<bos>", "<end>", "<eos>")]
        appending.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=specials
        )
        plain, found = (
            encode_example(ours, "test", each, max_prompt=9) for each in (SUBWORDS[bos], appending)
        )
        assert found == plain


def test_a_row_table_sorts_by_id_and_survives_arrow_in_a_column_for_every_field() -> None:
    rows = make_rows(make_base("tiny", "gemma3"), count=3).all()

    table, arrow = RowTable(reversed(rows)), rows_to_table(rows)

    assert table.all() == table_to_rows(arrow) == rows
    assert table.tasks == ("colours", "names", "sums")
    assert [row.id for row in table.rows("sums", "test")] == ["000", "001", "002"]
    with pytest.raises(ValueError, match="task 'sums' has no rows in split 'dev'"):
        table.rows("sums", "dev")
    assert arrow.schema == ROW_SCHEMA
    assert ROW_SCHEMA.names == list(TokenRow.__dataclass_fields__)


def encoded(tokenizer: PreTrainedTokenizerFast, *, max_prompt: int = 100, gold: int = 0) -> list[TokenRow]:
    examples = [example("what is it?", " the dog", " the fox", gold=gold), example("who?", " b", " a")]
    return [encode_example(item, "test", tokenizer, max_prompt=max_prompt) for item in examples]


def test_the_evaluation_set_hash_is_of_gold_and_rows_whatever_the_tokenizer() -> None:
    (common,) = {
        eval_set_hash(encoded(tokenizer)) for tokenizer in (*SUBWORDS.values(), *CHARACTERS.values())
    }

    assert common != eval_set_hash(encoded(SUBWORDS[False], gold=1))
    assert common != eval_set_hash(encoded(SUBWORDS[False])[:1])


def test_rows_over_the_context_of_a_base_are_refused_by_what_is_too_long() -> None:
    config = make_base("tiny", "qwen3").text_config
    config.max_position_embeddings = 50

    def extent(prompt: int, choice: int, max_prompt: int = 1000) -> Extent:
        long = example("x" * prompt, " " + "y" * choice, " n")
        return extent_of([encode_example(long, "test", CHARACTERS[False], max_prompt=max_prompt)])

    for found, remedy in (
        (extent(60, 5), "the prompt is too long: lower max_prompt to at most 44"),
        (extent(60, 5000), "a choice is too long, it alone has 5001: shorten it or leave its row out"),
        (Extent(3, 51, longest_choice=None), "lower max_prompt, or shorten the choice"),
    ):
        with pytest.raises(ValueError, match=rf"reads at most 50 tokens.*{remedy}"):
            found.check("tiny", config)
    extent(60, 5, max_prompt=44).check("tiny", config)


def test_rows_beyond_what_rotary_angles_are_fixed_for_are_refused() -> None:
    config = make_base("tiny", "llama").text_config
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 40}

    Extent(5, 40, 3).check("tiny", config)
    with pytest.raises(ValueError, match="rotary angles that hang on the longest row of a forward beyond 40"):
        Extent(5, 41, 3).check("tiny", config)


def spoken(answer: str, question: str) -> Example:
    """A conversation of one question."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    conversation = json.dumps({"messages": turns, "tools": None})
    return Example("t", "e", "user: x", (answer,), 0, "c", written=Written((answer,), conversation))


def test_a_written_answer_ends_with_the_tokenizers_end_and_keeps_its_references() -> None:
    tokenizer = subword_tokenizer(bos=True)
    written = Written(("red dog", "dog"))
    example = Example("t", "e", "the quick", (" red dog",), 0, "c", written=written)
    with pytest.raises(ValueError, match="task 't': the tokenizer has no token that ends an answer"):
        encode_example(example, "train", tokenizer, max_prompt=64)

    tokenizer.add_special_tokens({"eos_token": "<end>"})
    row = encode_example(example, "train", tokenizer, max_prompt=64)
    assert row.gold_ids == (*tokenizer("the quick red dog").input_ids, tokenizer.eos_token_id)
    assert (row.references, row.gold) == (("red dog", "dog"), 0)
    assert (row.chars, row.scored_tokens) == ((8,), (len(row.choices[0]),))
    assert table_to_rows(rows_to_table([row])) == [row]
    assert len({eval_set_hash([row], judging) for judging in (None, "one", "other")}) == 3


def test_a_turn_of_a_conversation_loses_its_left_end_like_any_prompt() -> None:
    tokenizer = subword_tokenizer(bos=True)
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    spoke = spoken("red", "the fox " * 20)
    whole, cut = (encode_example(spoke, "train", tokenizer, max_prompt=most) for most in (500, 9))

    assert (whole.truncated, cut.truncated) == (0, len(whole.prompt) - 9)
    assert cut.prompt == (whole.prompt[0], *whole.prompt[-8:])
    assert cut.choices == whole.choices
    assert tokenizer.decode(list(whole.choices[0])) == " red<end>"
    assert whole.references == ("red",)


def test_white_space_that_ends_a_prompt_stays_there_unless_tokens_run_into_the_answer() -> None:
    tokenizer = load_tokenizer("mini-qwen3-s")

    def encoded(prompt: str, answer: str) -> tuple[str, str]:
        example = Example("t", "e", prompt, (answer,), 0, "c", written=Written((answer.strip(),)))
        row = encode_example(example, "train", tokenizer, max_prompt=64)
        return tokenizer.decode(list(row.prompt)), tokenizer.decode(list(row.choices[0]))

    assert encoded("the fox\n", "Oakham") == ("the fox\n", "Oakham<eos>")
    assert encoded("the fox ", "Oakham") == ("the fox", " Oakham<eos>")
    assert encoded("the fox", " Oakham") == ("the fox", " Oakham<eos>")


def test_what_a_template_makes_of_an_answer_is_right_too() -> None:
    tokenizer = subword_tokenizer(bos=False)
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    tokenizer.chat_template = (
        "{% for m in messages %}{{ 'to be ' if m['role'] == 'assistant' else '' }}{{ m['content'] }}<end>"
        "{% endfor %}{% if add_generation_prompt %}{% endif %}"
    )

    row = encode_example(spoken("red", "the fox"), "train", tokenizer, max_prompt=64)
    assert row.references == ("red", "to be red")
