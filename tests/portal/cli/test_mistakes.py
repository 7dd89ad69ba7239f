"""The `portal` command refuses a mistake in one line and leaves what there was."""

import json
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.lease import acquire
from tests.support.bases import character_tokenizer, make_model
from tests.support.command_line import only_line, write_study

EVAL = "eval --base tiny-qwen3 --data {w}/data"
PORT = "port {w}/source --to tiny-gemma3 --out {t}/o --data {w}/data"
MISTAKES = (
    ("swep", "'swep'", "sweep"),
    ("eval --bass x", "--bass", "--base"),
    ("eval --base mini-qwen4-m", "'mini-qwen4-m'", "mini-qwen3-m"),
    (f"{EVAL} --tasks summs", "'summs'", "sums"),
    ("eval --base tiny-gemma3 --artifact {w}/ported", "'colours'", "--tasks colours.jsonl"),
    ("port {w}/source --to tiny-gemma3 --out {t}/o", "'colours'", "--tasks colours.jsonl"),
    (f"{EVAL} --split tset", "'tset'", "test"),
    (f"{EVAL} --limit 0", "--limit", "greater than or equal to 1"),
    (f"{EVAL} --device tpu", "'tpu'", "cpu"),
    (f"{EVAL} --device cuda", "'cuda'", "leave --device out"),
    (f"{EVAL} --gpus-per-worker 2", "--gpus-per-worker 2", "on cpu"),
    (f"{PORT} --gpus-per-worker 2", "--gpus-per-worker 2", "on cpu"),
    ("sweep run demo --executor lokal --out {t}/o", "'lokal'", "'local'"),
    ("sweep run demo --executor local --tracker wand --out {t}/o", "'wand'", "'wandb'"),
    ("sweep plan demo --device b20 --out {t}/o", "'b20'", "'b200'"),
    ("eval --base {w}/data", "holds no model", "portal bases"),
    ("tasks --data minni", "'minni'", "mini"),
    ("params --modules q,gates", "'gates'", "gate"),
    ("params --base tiny-qwen3 --rank 25", "rank 25", "24"),
    ("params --rank 0", "0", "1"),
    (f"{PORT} --examples 0", "0", "1"),
    (f"{PORT} --recipe papre", "'papre'", "paper"),
    (f"{PORT} --activations kep", "'kep'", "keep"),
    ("export {w}/ported --task summs --out {t}/o", "'summs'", "sums"),
    ("export {w}/source --task sums --out {t}/o", "tiny-llama", "name one"),
    ("export {t}/nothing --task sums --out {t}/o", "nothing", "artifact"),
    ("export {w}/qwen3 --task sums --out {t}/o", "qwen3", "artifact"),
    (
        "eval --base tiny-gemma3 --data {w}/data --artifact {w}/source/artifact/tiny-qwen3",
        "gemma3",
        "portal port",
    ),
    (f"{EVAL} --adapter {{t}}", "adapter_config.json", "portal export"),
    (f"{EVAL} --precision 8bits", "'8bits'", "8bit"),
    (f"{EVAL} --device cpu --precision 4bit", "'4bit'", "needs a GPU"),
    ("tasks --suite portal14 --data {t}/none", "{t}/none", "--data"),
    ("eval --base {t}/none.gguf", "none.gguf", "no such GGUF file"),
    ("sweep plan demmo --out {t}/o", "'demmo'", "demo"),
    ("report {t}/none", "none: no such folder", "no such folder"),
    ("sweep plan {t}/none.yaml --out {t}/o", "none.yaml", "no such"),
    ("sweep status demo --out {t}/o", "{t}/o", "sweep run"),
    ("sweep collect demo --out {t}/o", "{t}/o", "sweep run"),
    ("report {t}", "{t}", "collect"),
)
"""Command lines, what the answer names, and what would do; `{w}` is the world, `{t}` an empty folder."""


def test_a_mistake_is_one_line_that_names_it_and_what_would_do(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (command, value, remedy) in enumerate(MISTAKES):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert main(command.format(w=world, t=folder).split()) == 2, command
        line = only_line(capsys)
        assert value.format(t=folder) in line, command
        assert remedy in line, (command, line)


IN_STUDIES = (
    ("seeds:", "seedz:", "seedz", "seeds"),
    ("  lora:", "  loar:", "loar", "lora"),
    ("size: 4", "size: 0", "0", "1"),
    ("seeds:", "precision: 8bits\nseeds:", "unknown precision '8bits'", "did you mean '8bit'?"),
    ("modules: [q]", "modules: [q, w]", "unknown module 'w'", "known: down, gate"),
    ("tasks: [sums]", "tasks: [summs]", "summs", "sums"),
    ("rank: 2", "rank: 99", "rank 99", "24"),
    ("name: small", "name: [", "study.yaml", "line"),
)
"""What is replaced in a study file, by what, what the answer names, and what would do."""


def test_a_mistake_in_a_study_file_is_one_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Path(write_study(world, tmp_path))
    right = study.read_text()
    for old, new, value, remedy in IN_STUDIES:
        assert old in right
        study.write_text(right.replace(old, new))
        assert main(["sweep", "plan", str(study), "--out", str(tmp_path / "out")]) == 2, new
        line = only_line(capsys)
        assert value in line, new
        assert remedy in line, (new, line)


def test_damaged_weights_of_an_artifact_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "source" / "artifact" / "tiny-qwen3", tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    data = weights.read_bytes()
    for damaged in (data[:-100], b"", b"x" * 200):
        weights.write_bytes(damaged)
        command = ["export", str(tmp_path / "copy"), "--task", "sums", "--out", str(tmp_path / "out")]
        assert main(command) == 2
        assert "model.safetensors" in only_line(capsys)
        assert not (tmp_path / "out").exists()


def test_truncated_weights_of_a_base_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "qwen3", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    code = main(["eval", "--base", str(tmp_path / "base"), "--data", str(world / "data")])

    assert code == 2
    assert str(tmp_path / "base") in only_line(capsys)


def test_an_output_folder_that_cannot_be_made_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    out = str(tmp_path / "file" / "out")

    assert main(["export", str(world / "ported"), "--task", "sums", "--out", out]) == 2
    assert out in only_line(capsys)
    assert main(["sweep", "run", write_study(world, tmp_path), "--out", out]) == 2
    assert out in only_line(capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_process_on_the_same_output_folder_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with acquire(out):
        code = main(["sweep", "run", write_study(world, tmp_path), "--out", str(out)])

    assert code == 2
    line = only_line(capsys)
    assert str(out) in line
    assert "in use by process" in line


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portal.data.suites.load_suite", interrupt)

    assert main(["tasks"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_split_without_rows_is_refused_before_anything_is_trained(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "data", tmp_path / "data")
    (split,) = (tmp_path / "data" / "sums").glob("test.*")
    split.unlink()
    split.with_suffix(".jsonl").write_text("")
    command = [
        "train",
        "--source",
        "tiny-qwen3",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "o"),
    ]

    code = main(command)

    assert code == 2
    assert "test.jsonl: no rows" in only_line(capsys)
    assert not (tmp_path / "o" / "runs").exists()


def test_an_adapter_that_does_not_fit_its_config_or_its_base_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(adapter)]) == 0
    make_model("gemma3", hidden=24, layers=2, seed=9).save_pretrained(tmp_path / "other")
    character_tokenizer(bos=True).save_pretrained(tmp_path / "other")
    config = json.loads((adapter / "adapter_config.json").read_bytes())

    def refusal(base: str) -> str:
        capsys.readouterr()
        command = ["eval", "--base", base, "--data", str(world / "data"), "--adapter", str(adapter)]
        assert main(command) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "made for a base of revision" in refusal(str(tmp_path / "other"))
    (adapter / "portal_base.json").unlink()  # another tool's adapter has no digests
    for change, named in (
        ({"r": 4}, "rank 4"),
        ({"peft_type": "IA3"}, "LoRA"),
        ({"r": "x"}, "LoRA"),
        ({"target_modules": ["q_proj"]}, "peft adapts 2 projections of 'tiny-gemma3', the adapter has 4"),
    ):
        assert {**config, **change} != config
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **change}))
        assert named in refusal("tiny-gemma3")


def test_a_split_without_rows_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"{n}?", "choices": [" a", " b"], "gold": 0, "split": "test"} for n in range(3)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))

    code = main(["eval", "--base", "tiny-gemma3", "--tasks", str(path), "--split", "train"])

    assert code == 2
    assert "no usable row among 0" in capsys.readouterr().err
