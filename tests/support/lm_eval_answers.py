"""Four tasks of lm-eval whose answers are written, with rows of our own: its texts and scores, and ours."""

import json
from pathlib import Path
from typing import Any

from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM

from portal.bases.base import Base
from portal.data.suites import load_suite
from portal.data.token_rows import encode_examples
from portal.evaluate.written import ToWrite, write_answers
from portal.tasks.lm_eval import FEWSHOT_SEED, _load

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


def write_rows(folder: Path) -> Path:
    """The rows of every task and split, as JSON lines in `folder`, which is returned."""
    for task, splits in _rows().items():
        (folder / task).mkdir()
        for split, rows in splits.items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(text)
    return folder


def lm_evals(base: Base, name: str, folder: Path) -> list[tuple[str, float]]:
    """The text and the score of every document, by lm-eval alone."""
    task = _load(name, folder)
    task.set_fewshot_seed(FEWSHOT_SEED)  # as its command does
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
    """The same by our own decoding, with lm-eval's judgement through the metric of the suite."""
    suite = load_suite("lm-eval", data=str(folder))
    answers = suite.answers_of([name])[name].model_copy(update={"max_new_tokens": LONGEST})
    examples = ((example, "test") for example in suite.examples(name, "test"))
    rows = encode_examples(examples, base.tokenizer, max_prompt=1024)
    (judged,) = write_answers(base, [ToWrite(rows, None, answers)], {}, 1.0)
    assert all(each.error is None for each in judged)
    return [(each.text, each.value) for each in judged]
