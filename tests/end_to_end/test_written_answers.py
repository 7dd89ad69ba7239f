"""A study of tasks with written answers and with choices: trained, ported, reported, written again."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from portal.bases.base import load_base
from portal.cli import main
from portal.config import RunConfig
from portal.data.suites import load_suite
from portal.evaluate import written
from portal.evaluate.text_metrics import token_f1
from portal.generation.decoder import end_tokens
from portal.results import GENERATIONS, PREDICTIONS, RESULTS, read_table
from sweeps.study.expand import load_study

STUDY = """
name: written
suite: mini
tasks: [places.yaml, chat.jsonl, counting]
eval_size: 6
seeds: [0]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-gemma3]
methods:
  base: {targets: [mini-qwen3-s]}
  lora: {targets: [mini-qwen3-s], size: 32, train: {epochs: 12, lr: 3e-3}, adapter: {rank: 4}}
  source:
    size: 16
    adapter: {rank: 2}
    hypernet: {d_latent: 8, d_layer: 8, hidden: 16, d_core: 16}
    train: {epochs: 1}
  portal: {targets: [mini-gemma3], size: 4, train: {epochs: 1}}
"""
PLACES = """
data: rows.jsonl
answer: text
prompt: "{question}"
references: answer
metric: token_f1
max_new_tokens: 6
"""

pytestmark = pytest.mark.slow


def _write_tasks(folder: Path) -> None:
    rows = [
        {"question": e.prompt, "answer": e.choices[e.gold].strip(), "split": split}
        for split in ("train", "validation", "test")
        for e in load_suite("mini").examples("fact_qa", split)[: 40 if split == "train" else 8]
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "places.yaml").write_text(PLACES)
    said = (("user", "question"), ("assistant", "answer"))
    turns = [
        {"messages": [{"role": role, "content": row[key]} for role, key in said], "split": row["split"]}
        for row in rows
    ]
    (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in turns))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study file, which names its tasks by their paths."""
    folder = tmp_path_factory.mktemp("study")
    _write_tasks(folder)
    text = STUDY.replace("places.yaml", str(folder / "places.yaml"))
    (folder / "written.yaml").write_text(text.replace("chat.jsonl", str(folder / "chat.jsonl")))
    return folder / "written.yaml"


@pytest.fixture(scope="module")
def out(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study."""
    folder = tmp_path_factory.mktemp("out")
    assert main(["sweep", "run", str(path), "--out", str(folder), "--executor", "local"]) == 0
    return folder


@pytest.fixture(scope="module")
def results(out: Path) -> list[dict[str, Any]]:
    return read_table(out / "results" / "results.parquet", RESULTS).to_pylist()


@pytest.fixture(scope="module")
def answers(out: Path) -> list[dict[str, Any]]:
    """Every answer that was written."""
    return read_table(out / "results" / "generations.parquet", GENERATIONS).to_pylist()


@pytest.fixture(scope="module")
def lora(path: Path) -> RunConfig:
    (run,) = [run for run in load_study(path).runs if run.method == "lora"]
    return run


def test_every_answer_is_kept_with_its_worth_and_the_tables_agree(
    out: Path, results: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    predictions = read_table(out / "results" / "predictions.parquet", PREDICTIONS).to_pylist()

    metrics = {row["task"]: row["metric"] for row in results}
    assert metrics == {"places": "token_f1", "chat": "exact_match", "counting": "acc_norm"}
    worth = {(*_place(row), row["example"]): row["value"] for row in predictions}
    assert all(worth[(*_place(row), row["example"])] == row["value"] for row in answers)
    for row in results:
        own = [each for each in answers if _place(each) == _place(row)]
        if row["task"] == "counting":
            assert (row["score"], row["unended"], own) == (row["acc_norm"], None, [])
            continue
        assert len(own) == row["num_examples"] == 6
        assert row["score"] == pytest.approx(sum(each["value"] for each in own) / 6)
        assert row["unended"] == sum(each["reason"] == "length" for each in own)
        assert (row["acc"], row["acc_norm"], row["chance"]) == (None, None, 0.0)
    assert len(answers) == 6 * sum(row["task"] != "counting" for row in results)


def _place(row: dict[str, object]) -> tuple[object, ...]:
    return row["run"], row["task"], row["epoch"], row["split"]


def test_an_evaluation_that_is_interrupted_goes_on_from_its_answers(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        path.read_text()
        .partition("  source:")[0]
        .replace(", counting", "")
        .replace("epochs: 12", "epochs: 1")
    )
    places = (path.parent / "places.yaml").read_text().replace("token_f1", f"{__name__}:interrupting")
    (path.parent / "interrupted.yaml").write_text(places)
    study = path.with_name("once-more.yaml")
    study.write_text(text.replace("places.yaml", "interrupted.yaml"))
    command = ["sweep", "run", str(study), "--executor", "local", "--out"]
    monkeypatch.setattr(written, "PIECE_S", 0.0)
    left, whole, saved = str(tmp_path / "left"), str(tmp_path / "whole"), list[int]()
    for answers_left[0], code in ((5, 130), (17, 130), (999, 0)):
        assert main([*command, left]) == code
        saved.append(len(list((tmp_path / "left" / "packs").glob("*/state/*"))))
        assert list((tmp_path / "left" / "packs").glob("*/answers/*/*.json")) != [] or code == 0
    assert main([*command, whole]) == 0

    log = (tmp_path / "left" / "logs" / "lane-0.log").read_text()
    assert log.count("of 24 answers were written before the interruption") == 2
    assert saved == [0, 1, 0]  # the adapters whose answers they are were saved before
    for name, schema in (("generations", GENERATIONS), ("predictions", PREDICTIONS)):
        first, second = (read_table(Path(out, "results", f"{name}.parquet"), schema) for out in (left, whole))
        assert first.equals(second)
    assert not list((tmp_path / "left" / "packs").glob("*/answers"))


answers_left = [999]


def interrupting(text: str, references: Sequence[str]) -> float:
    """A metric during which the user interrupts the study, once."""
    answers_left[0] -= 1
    if answers_left[0] < 0:
        raise KeyboardInterrupt
    return token_f1(text, references)


def test_training_teaches_the_answer_and_where_it_ends(
    results: list[dict[str, Any]], answers: list[dict[str, Any]], lora: RunConfig
) -> None:
    assert lora.train is not None
    last = lora.train.epochs
    loss = {
        (row["task"], row["epoch"]): row["log_loss"]
        for row in results
        if (row["run"], row["split"]) == (lora.key, "test")
    }
    own = [row for row in answers if (row["run"], row["epoch"]) == (lora.key, last)]

    for task in ("places", "chat"):
        assert loss[task, last] < loss[task, 0] - 3
    assert max(row["tokens"] for row in own) <= 6
    assert {row["reason"] for row in own} == {"end"}


def test_the_adapter_writes_the_same_through_peft(
    out: Path, answers: list[dict[str, Any]], lora: RunConfig
) -> None:
    assert lora.train is not None
    place = (lora.key, "places", lora.train.epochs, "test")
    wanted = {row["example"]: (row["text"], row["tokens"]) for row in answers if _place(row) == place}
    folder = out / "runs" / lora.key / "artifact" / "places"
    base = load_base("mini-qwen3-s")
    model = PeftModel.from_pretrained(base.model, folder)
    prompts = {row["example"]: row["prompt"] for row in answers if row["task"] == "places"}
    for example, (text, tokens) in wanted.items():
        ids_1T = torch.tensor([base.tokenizer(prompts[example]).input_ids])
        with torch.inference_mode():
            answer_1T = model.generate(
                input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), max_new_tokens=6, do_sample=False,
                eos_token_id=sorted(end_tokens(base)), pad_token_id=0,
            )  # fmt: skip
        own = answer_1T[0, ids_1T.shape[1] :]
        assert base.tokenizer.decode(own, skip_special_tokens=True) == text
        assert len(own) == tokens


def test_the_command_scores_an_adapter_as_its_run_did(
    out: Path, results: list[dict[str, Any]], lora: RunConfig, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = out / "runs" / lora.key / "artifact" / "places"
    args = ["eval", "--base", "mini-qwen3-s", "--tasks", str(path.parent / "places.yaml")]
    assert main([*args, "--adapter", str(folder), "--limit", "6", "--json"]) == 0

    scores = json.loads(capsys.readouterr().out)["tasks"]["places"]
    (row,) = [
        row
        for row in results
        if (row["run"], row["task"], row["split"], row["kept"]) == (lora.key, "places", "test", True)
    ]
    assert (scores["metric"], scores["acc"]) == ("token_f1", None)
    assert scores["score"] == pytest.approx(row["score"])
    assert scores["log_loss"] == pytest.approx(row["log_loss"], rel=1e-5)

    assert main([*args, "--adapter", str(folder), "--limit", "6"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["task", "metric", "score", "log_loss", "unended", "rows"]


def test_a_line_of_a_conversation_goes_through_the_template(
    out: Path, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = [run for run in load_study(path).runs if run.method == "source"]
    artifact = next((out / "runs" / source.key / "artifact").iterdir())
    command = ["try", str(artifact), "--base", "mini-qwen3-xs", "--task", "chat", "--json"]

    def answer(line: str, *options: str) -> list[dict[str, object]]:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n"))
        assert main([*command, "--max-new-tokens", "5", *options]) == 0
        (told,) = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
        return [told["before"], told["after"]]

    asked = answer("Where was Vume born?", "--chat", "--system", "Be brief.\\nVery.")
    assert asked == answer(
        "System: Be brief.\\nVery.\\nUser: Where was Vume born?\\nAssistant:", "--stop", ""
    )


def test_the_report_says_what_a_score_is(out: Path, tmp_path: Path) -> None:
    assert main(["report", str(out), "--out", str(tmp_path)]) == 0

    tables = (tmp_path / "tables.md").read_text()
    assert "score by task" in tables
    assert "| score |" in tables
    page = (tmp_path / "index.html").read_text()
    assert "means over tasks mix them: exact_match of chat; acc_norm of counting; token_f1 of places" in page


def test_a_base_without_a_template_is_told_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "plan", str(path)]) == 0

    printed = capsys.readouterr()
    lines = [*printed.err.splitlines(), *printed.out.splitlines()]
    told = [line for line in lines if "has no chat template: conversations are rendered as lines" in line]
    assert len(told) == 3
