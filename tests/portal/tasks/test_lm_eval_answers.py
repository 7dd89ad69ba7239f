"""Written answers of lm-eval's tasks: texts and scores are lm-eval's with its own class of models."""

from pathlib import Path

import pytest

from portal.answers import AnswerConfig
from portal.bases.base import load_base
from portal.data.suites import load_suite
from portal.evaluate.text_metrics import find_metric
from portal.tasks.example import SPLITS
from portal.tasks.lm_eval import _load
from tests.support.lm_eval_answers import lm_evals, ours, write_rows

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("lm-eval"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triviaqa", "nq_open", "drop"])
def test_texts_and_scores_are_lm_evals_on_an_embedded_base(name: str, folder: Path) -> None:
    base = load_base("mini-qwen3-s")

    assert ours(base, name, folder) == lm_evals(base, name, folder)


def test_settings_and_right_answers_are_the_tasks_own(folder: Path) -> None:
    suite = load_suite("lm-eval", data=str(folder))
    answers = suite.answers_of(("gsm8k", "triviaqa"))

    assert answers["gsm8k"] == AnswerConfig(
        metric="lm-eval:gsm8k", stop=("Question:", "</s>", "<|im_end|>"), max_new_tokens=256
    )
    example = suite.examples("triviaqa", "train")[0]
    assert example.choices == (" Paris",)
    assert example.prompt.endswith("?\nAnswer:")
    assert example.written is not None
    assert example.written.references[0] == "Paris"


def test_shots_are_the_same_whenever_a_task_is_loaded(folder: Path) -> None:
    first, second = (load_suite("lm-eval", data=str(folder)) for _ in range(2))

    for split in SPLITS:
        assert list(first.examples("gsm8k", split)) == list(second.examples("gsm8k", split))
    assert first.examples("gsm8k", "test")[0].prompt.count("Question:") == 6


def test_an_answer_is_judged_without_the_data_set(folder: Path) -> None:
    suite = load_suite("lm-eval", data=str(folder))
    for name, right in (("gsm8k", "so #### 12"), ("triviaqa", " PARIS!")):
        example = next(
            each
            for each in suite.examples(name, "test")
            if each.written is not None and each.written.references[0].endswith(("#### 12", "Paris"))
        )
        assert example.written is not None
        measure = find_metric(f"lm-eval:{name}")
        assert measure(right, example.written.references) == 1.0
        assert measure("#### 99", example.written.references) == 0.0


def test_a_task_whose_answers_are_drawn_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = _load("gsm8k", folder)
    monkeypatch.setitem(task.config.generation_kwargs, "do_sample", True)
    monkeypatch.setitem(task.config.generation_kwargs, "temperature", 0.7)
    with pytest.raises(ValueError, match="draws its answers by chance"):
        load_suite("lm-eval", data=str(folder)).answers_of(["gsm8k"])


def test_a_task_that_lm_eval_does_not_have_is_refused_before_anything_is_judged() -> None:
    with pytest.raises(ValueError, match="lm-eval has no task 'gsm9k'"):
        find_metric("lm-eval:gsm9k")
