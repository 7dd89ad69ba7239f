"""Written answers of lm-eval's tasks on a pretrained base: texts and scores are lm-eval's, up to 50 rows."""

from pathlib import Path

import pytest

from portal.bases.base import Base, load_base
from tests.support.lm_eval_answers import lm_evals, ours, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("lm-eval"))


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base("smollm2-135m")


@pytest.mark.parametrize("name", ["gsm8k", "triviaqa", "nq_open", "drop"])
def test_texts_and_scores_are_lm_evals(base: Base, name: str, folder: Path) -> None:
    found = ours(base, name, folder)

    assert found == lm_evals(base, name, folder)
    if name != "triviaqa":  # there the base begins with a line break, at which an answer ends
        assert any(text.strip() for text, _ in found)
    if name == "gsm8k":
        assert sum(value for _, value in found) > 0
