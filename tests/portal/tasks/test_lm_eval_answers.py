"""Written answers of lm-eval's tasks: texts and scores are lm-eval's with its own class of models."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM

from portal.answers import AnswerConfig
from portal.bases.base import Base, load_base
from portal.data.suite import load_suite
from portal.data.token_rows import encode_examples
from portal.evaluate.text_metrics import find_metric
from portal.evaluate.written import ToWrite, write_answers
from portal.tasks.lm_eval import _load

pytestmark = pytest.mark.oracle
LONGEST = 24
"""Tokens of an answer in these tests: the tasks allow 256."""


def _sums(count: int, start: int = 0) -> list[dict[str, Any]]:
    numbers = [(3 + n % 7, 2 + n % 5) for n in range(start, start + count)]
    return [
        {
            "question": f"Ann has {a} eggs and buys {b} more. How many eggs has she?",
            "answer": f"She has {a} + {b} = <<{a}+{b}={a + b}>>{a + b} eggs.\n#### {a + b}",
        }
        for a, b in numbers
    ]


def _capitals() -> list[tuple[str, str]]:
    return [
        ("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Egypt", "Cairo"),
        ("Norway", "Oslo"), ("Greece", "Athens"), ("Cuba", "Havana"), ("Peru", "Lima"), ("Kenya", "Nairobi"),
    ]  # fmt: skip


def _rows() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rows of four tasks in the columns of their data sets, by split."""
    trivia = [
        {"question": f"What is the capital of {land}", "answer": {"aliases": [town, town.upper()]}}
        for land, town in _capitals()
    ]
    open_questions = [
        {"question": f"what is the capital of {land}", "answer": [town]} for land, town in _capitals()
    ]
    drop = [
        {
            "section_id": "s", "passage": f"{land} is a land. Its capital is {town}.",
            "question": f"What is the capital of {land}?", "query_id": f"q{place}",
            "answer": {
                "number": "", "date": {"day": "", "month": "", "year": ""}, "spans": [town],
                "worker_id": "", "hit_id": "",
            },
            "validated_answers": {"number": [], "date": [], "spans": [], "worker_id": [], "hit_id": []},
        }
        for place, (land, town) in enumerate(_capitals())
    ]  # fmt: skip
    return {
        "gsm8k": {"train": _sums(12), "test": _sums(50, 12)},
        "triviaqa": {"train": trivia[:6], "validation": trivia},
        "nq_open": {"train": open_questions[:6], "validation": open_questions},
        "drop": {"train": drop[:6], "validation": drop},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm-eval")
    for task, splits in _rows().items():
        (folder / task).mkdir()
        for split, rows in splits.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(text)
    return folder


def lm_evals(base: Base, name: str, folder: Path) -> list[tuple[str, float]]:
    """The text and the score of every document, by lm-eval alone."""
    task = _load(name, folder)
    model = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=4, max_length=2048)
    kept = dict(task.config.generation_kwargs)
    task.config.generation_kwargs |= {"max_gen_toks": LONGEST}
    try:
        found = evaluate(lm=model, task_dict={name: task}, limit=50, log_samples=True, bootstrap_iters=0)
    finally:
        task.config.generation_kwargs = kept
    first = task._filters[0].name
    samples = sorted(
        (each for each in found["samples"][name] if each["filter"] == first), key=lambda each: each["doc_id"]
    )
    metric = next(iter(task._metric_fn_list))
    return [(each["resps"][0][0], float(each[metric])) for each in samples]


def ours(base: Base, name: str, folder: Path) -> list[tuple[str, float]]:
    suite = load_suite("lm-eval", data=str(folder))
    answers = suite.answers_of([name])[name].model_copy(update={"max_new_tokens": LONGEST})
    examples = ((example, "test") for example in suite.examples(name, "test"))
    rows = encode_examples(examples, base.tokenizer, max_prompt=1024)
    (judged,) = write_answers(base, [ToWrite(rows, None, answers)], {}, 1.0)
    assert all(each.error is None for each in judged)
    return [(each.text, each.value) for each in judged]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triviaqa", "nq_open", "drop"])
def test_texts_and_scores_are_lm_evals_on_an_embedded_base(name: str, folder: Path) -> None:
    base = load_base("mini-qwen3-s")

    assert ours(base, name, folder) == lm_evals(base, name, folder)


@pytest.mark.real
@pytest.mark.parametrize("name", ["gsm8k", "triviaqa", "nq_open", "drop"])
def test_texts_and_scores_are_lm_evals_on_a_pretrained_base(name: str, folder: Path) -> None:
    assert os.environ.get("PORTAL_TEST_REAL")
    base = load_base("smollm2-135m")

    found = ours(base, name, folder)
    assert found == lm_evals(base, name, folder)
    assert any(text.strip() for text, _ in found)
    if name in ("triviaqa", "nq_open"):
        assert sum(value for _, value in found) > 0


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
