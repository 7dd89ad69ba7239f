"""Conformance with lm-eval 0.4.13: the same strings, log-likelihoods, accuracies and written answers."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from portal.answers import AnswerConfig
from portal.bases.base import Base, load_base
from portal.data.suites import load_suite, open_suite
from portal.data.token_rows import encode_example
from portal.evaluate.loglikelihood import score_rows
from portal.evaluate.text_metrics import find_metric
from portal.tasks.example import SPLITS, Example
from portal.tasks.lm_eval import _load, load_lm_eval_task, to_example
from portal.tasks.portal14 import BUILDERS
from portal.tasks.records import split_files
from tests.support.bases import make_base
from tests.support.counts import nightly
from tests.support.lm_eval_answers import lm_evals, ours, write_rows
from tests.support.shared import ROWS, needs_rows

pytestmark = pytest.mark.oracle
NAMES = {"sglue_rte": "rte", "truthfulqa_mc1": "truthfulqa"} | {
    name: name for name in BUILDERS if name not in ("rte", "truthfulqa")
}
"""lm-eval's tasks of the fourteen data sets, and the folders of their rows."""
DOCUMENTS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of every split under the names and in the columns that lm-eval reads."""
    folder = tmp_path_factory.mktemp("rows")
    for name, place in NAMES.items():
        (folder / name).mkdir()
        for split in ("train", "validation", "test"):
            files = next(
                found
                for other in (split, "validation", "test")
                if (found := split_files(ROWS / place, other))
            )
            if split == "train" and name == "truthfulqa_mc1":
                continue
            table = pq.read_table(files[0]).slice(0, 40)
            if name == "boolq":  # lm-eval reads super_glue's copy
                table = table.append_column("label", table["answer"].cast(pa.int64()))
            pq.write_table(table, folder / name / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module", params=["gemma3", *nightly("qwen3", "llama")])
def base(request: pytest.FixtureRequest) -> Base:
    return make_base(request.param, request.param)


def reference(base: Base, requests: list) -> list[float]:
    """Log-likelihoods of lm-eval's own model class."""
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=base.model, tokenizer=base.tokenizer, batch_size=8, max_length=4096, prefix_token_id=0
    )
    return [score for score, _ in model.loglikelihood(requests, disable_tqdm=True)]


@pytest.mark.slow
@needs_rows
@pytest.mark.parametrize("name", NAMES)
def test_contexts_continuations_scores_and_accuracies_are_those_of_lm_eval(
    name: str, folder: Path, base: Base
) -> None:
    task = _load(name, folder)
    task.build_all_requests(limit=DOCUMENTS, rank=0, world_size=1)
    by_doc: dict[int, list] = {}
    for instance in task.instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    examples = {example.id: example for example in load_lm_eval_task(name, folder)[0]["test"]}
    split = "test" if task.has_test_docs() else "validation"
    theirs = reference(base, [instance for instances in by_doc.values() for instance in instances])
    cursor = 0

    for doc_id, instances in by_doc.items():
        example = examples.get(f"{split}-{doc_id:06d}")
        scores = theirs[cursor : cursor + len(instances)]
        cursor += len(instances)
        if example is None or len(example.choices) != len(instances):
            continue  # equal choices, which lm-eval judges by their place
        contexts = example.contexts or (example.prompt,) * len(example.choices)
        assert list(zip(contexts, example.choices, strict=True)) == [i.args for i in instances]
        (ours,) = score_rows(base, [encode_example(example, "test", base.tokenizer, max_prompt=4096)])
        assert ours.scores == pytest.approx(scores, abs=1e-4)
        judged = task.process_results(instances[0].doc, [(score, False) for score in scores])
        assert not ours.is_tied  # of tied choices lm-eval takes the first
        assert judged["acc"] == ours.acc
        if "acc_norm" in judged and ours.acc_norm("lm-eval") in (0, 1):
            assert judged["acc_norm"] == ours.acc_norm("lm-eval")


@needs_rows
def test_splits_share_no_document_and_some_tasks_have_only_rows_to_report(folder: Path) -> None:
    splits, _ = load_lm_eval_task("copa", folder)
    ids = [example.id for examples in splits.values() for example in examples]
    assert [len(splits[split]) for split in SPLITS] == [36, 4, 40]
    assert len(set(ids)) == len(ids)

    splits, _ = load_lm_eval_task("truthfulqa_mc1", folder)
    assert [len(splits[split]) for split in SPLITS] == [0, 0, 40]
    example = load_lm_eval_task("winogrande", folder)[0]["test"][0]
    assert example.contexts is not None
    assert (len(set(example.contexts)), len(set(example.choices))) == (2, 1)


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_own_contexts_are_read_but_neither_scored_nor_trained_on(family: str) -> None:
    base = make_base(family, family)
    example = Example("t", "e", "Bo saw ", (" and ran.", " and ran."), 1, "e", ("Bo saw Al", "Bo saw Jim"))

    row = encode_example(example, "test", base.tokenizer, max_prompt=100)
    (scored,) = score_rows(base, [row])

    for index, context in enumerate(example.contexts or ()):
        ids = base.tokenizer(context + " and ran.").input_ids
        start = len(base.tokenizer(context).input_ids)
        with torch.inference_mode():
            log_probs = base.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(log_probs[place - 1, ids[place]].item() for place in range(start, len(ids)))
        assert scored.scores[index] == pytest.approx(expected, abs=1e-4)
    assert row.scored_tokens == (9, 9)
    assert row.gold_ids[row.gold_start :] == tuple(base.tokenizer(" and ran.").input_ids)[-9:]


def test_a_document_whose_right_choice_stands_twice_is_left_out() -> None:
    pairs = [("Q:", " a"), ("Q:", " b"), ("Q:", " a")]

    assert to_example("t", "e", pairs, 0) == "the right choice stands twice"
    merged = to_example("t", "e", pairs, 1)
    assert isinstance(merged, Example)
    assert (merged.choices, merged.gold) == ((" a", " b"), 1)


def test_an_unknown_task_one_of_another_type_and_all_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lambada_openai").mkdir()
    pq.write_table(pa.table({"text": ["one two three"]}), tmp_path / "lambada_openai" / "test.parquet")

    for refused, message in (
        (lambda: open_suite("lm-eval", ["arc_eesy"], data=str(tmp_path)), "did you mean 'arc_easy'"),
        (lambda: open_suite("lm-eval", None), r"suite 'lm-eval' has .* tasks: name those you want"),
        (lambda: find_metric("lm-eval:gsm9k"), "lm-eval has no task 'gsm9k'"),
        (
            lambda: load_lm_eval_task("lambada_openai", tmp_path),
            "'lambada_openai' is of type 'loglikelihood'; only multiple_choice and generate_until tasks",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


@needs_rows
def test_a_task_with_several_right_answers_and_a_row_that_templates_cannot_read_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "truthfulqa_mc1", tmp_path / "truthfulqa_mc2")
    with pytest.raises(ValueError, match=r"'truthfulqa_mc2' is scored by .*only tasks with one right answer"):
        load_lm_eval_task("truthfulqa_mc2", tmp_path)

    rows = pq.read_table(folder / "copa" / "validation.parquet").slice(0, 4).to_pylist()
    rows[2]["premise"] = None
    (tmp_path / "copa").mkdir()
    for split in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "copa" / f"{split}.parquet")
    with pytest.raises(ValueError, match="lm-eval task 'copa', split 'validation', row 2: its templates"):
        load_lm_eval_task("copa", tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("lm-eval"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triviaqa", "nq_open", "drop"])
def test_texts_and_scores_are_lm_evals_on_an_embedded_base(name: str, written: Path) -> None:
    base = load_base("mini-qwen3-s")

    assert ours(base, name, written) == lm_evals(base, name, written)


def test_settings_and_right_answers_are_the_tasks_own_and_shots_the_same_whenever_it_is_loaded(
    written: Path,
) -> None:
    suite, again = (load_suite("lm-eval", data=str(written)) for _ in range(2))
    answers = suite.answers_of(("gsm8k", "triviaqa"))

    assert answers["gsm8k"] == AnswerConfig(
        metric="lm-eval:gsm8k", stop=("Question:", "</s>", "<|im_end|>"), max_new_tokens=256
    )
    example = suite.examples("triviaqa", "train")[0]
    assert example.choices == (" Paris",)
    assert example.prompt.endswith("?\nAnswer:")
    assert example.written is not None
    assert example.written.references[0] == "Paris"
    for split in SPLITS:
        assert list(suite.examples("gsm8k", split)) == list(again.examples("gsm8k", split))
    assert suite.examples("gsm8k", "test")[0].prompt.count("Question:") == 6


def test_an_answer_is_judged_without_the_data_set(written: Path) -> None:
    suite = load_suite("lm-eval", data=str(written))
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


def test_a_task_whose_answers_are_drawn_is_refused(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = _load("gsm8k", written)
    monkeypatch.setitem(task.config.generation_kwargs, "do_sample", True)
    monkeypatch.setitem(task.config.generation_kwargs, "temperature", 0.7)
    with pytest.raises(ValueError, match="draws its answers by chance"):
        load_suite("lm-eval", data=str(written)).answers_of(["gsm8k"])
