"""The `portal` command refuses a mistake in one line and leaves what there was."""

import json
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.store.lease import acquire
from tests.support.bases import character_tokenizer, make_model
from tests.support.command_line import only_line, write_study

PORT = ["port", "{w}/source", "--to", "tiny-gemma3", "--out", "{t}/o", "--data", "{w}/data"]
MISTAKES = {
    "command": (["swep"], "'swep'", "sweep"),
    "option": (["eval", "--bass", "x"], "--bass", "--base"),
    "base": (["eval", "--base", "mini-qwen4-m"], "'mini-qwen4-m'", "mini-qwen3-m"),
    "task": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--tasks", "summs"], "'summs'", "sums"),
    "artifact of a task file, scored": (
        ["eval", "--base", "tiny-gemma3", "--artifact", "{w}/ported"],
        "'colours'",
        "--tasks colours.jsonl",
    ),
    "artifact of a task file, ported": (
        ["port", "{w}/source", "--to", "tiny-gemma3", "--out", "{t}/o"],
        "'colours'",
        "--tasks colours.jsonl",
    ),
    "split": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--split", "tset"], "'tset'", "test"),
    "limit": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--limit", "0"],
        "--limit 0",
        "at least 1",
    ),
    "device": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--device", "tpu"], "'tpu'", "cpu"),
    "device without a GPU": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--device", "cuda"],
        "'cuda'",
        "leave --device out",
    ),
    "a base divided without GPUs": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--gpus-per-worker", "2"],
        "--gpus-per-worker 2",
        "on cpu",
    ),
    "a port divided without GPUs": ([*PORT, "--gpus-per-worker", "2"], "--gpus-per-worker 2", "on cpu"),
    "executor": (["sweep", "run", "demo", "--executor", "lokal", "--out", "{t}/o"], "'lokal'", "'local'"),
    "tracker": (
        ["sweep", "run", "demo", "--executor", "local", "--tracker", "wand", "--out", "{t}/o"],
        "'wand'",
        "'wandb'",
    ),
    "predicted device": (["sweep", "plan", "demo", "--device", "b20", "--out", "{t}/o"], "'b20'", "'b200'"),
    "folder without a model": (["eval", "--base", "{w}/data"], "holds no model", "portal bases"),
    "suite": (["tasks", "--data", "minni"], "'minni'", "mini"),
    "module": (["params", "--modules", "q,gates"], "'gates'", "gate"),
    "rank": (["params", "--base", "tiny-qwen3", "--rank", "25"], "rank 25", "24"),
    "rank below 1": (["params", "--rank", "0"], "0", "1"),
    "size": (
        [*PORT, "--examples", "0"],
        "0",
        "1",
    ),
    "recipe": (
        [*PORT, "--recipe", "papre"],
        "'papre'",
        "paper",
    ),
    "activations": (
        [*PORT, "--activations", "kep"],
        "'kep'",
        "keep",
    ),
    "artifact task": (["export", "{w}/ported", "--task", "summs", "--out", "{t}/o"], "'summs'", "sums"),
    "artifact of which base": (
        ["export", "{w}/source", "--task", "sums", "--out", "{t}/o"],
        "tiny-llama",
        "name one",
    ),
    "artifact": (["export", "{t}/nothing", "--task", "sums", "--out", "{t}/o"], "nothing", "artifact"),
    "foreign artifact": (["export", "{w}/qwen3", "--task", "sums", "--out", "{t}/o"], "qwen3", "artifact"),
    "artifact of another base": (
        [
            "eval",
            "--base",
            "tiny-gemma3",
            "--data",
            "{w}/data",
            "--artifact",
            "{w}/source/artifact/tiny-qwen3",
        ],
        "gemma3",
        "portal port",
    ),
    "adapter": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--adapter", "{t}"],
        "adapter_config.json",
        "portal export",
    ),
    "precision": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--precision", "8bits"],
        "'8bits'",
        "8bit",
    ),
    "precision on a cpu": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--device", "cpu", "--precision", "4bit"],
        "'4bit'",
        "needs a GPU",
    ),
    "suite without rows": (["tasks", "--suite", "portal14", "--data", "{t}/none"], "{t}/none", "--data"),
    "gguf": (["eval", "--base", "{t}/none.gguf"], "none.gguf", "no such GGUF file"),
    "study": (["sweep", "plan", "demmo", "--out", "{t}/o"], "'demmo'", "demo"),
    "report of no folder": (["report", "{t}/none"], "none: no such folder", "no such folder"),
    "study file": (["sweep", "plan", "{t}/none.yaml", "--out", "{t}/o"], "none.yaml", "no such"),
    "status without a folder": (["sweep", "status", "demo", "--out", "{t}/o"], "{t}/o", "sweep run"),
    "collect without a folder": (["sweep", "collect", "demo", "--out", "{t}/o"], "{t}/o", "sweep run"),
    "report": (["report", "{t}"], "{t}", "collect"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_it_and_what_would_do(
    name: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, value, remedy = MISTAKES[name]

    code = main([part.format(w=world, t=tmp_path) for part in command])

    assert code == 2
    line = only_line(capsys)
    assert value.format(t=tmp_path) in line
    assert remedy in line


@pytest.mark.parametrize(
    ("old", "new", "value", "remedy"),
    [
        ("seeds:", "seedz:", "seedz", "seeds"),
        ("  lora:", "  loar:", "loar", "lora"),
        ("size: 4", "size: 0", "0", "1"),
        ("seeds:", "precision: 8bits\nseeds:", "unknown precision '8bits'", "did you mean '8bit'?"),
        ("modules: [q]", "modules: [q, w]", "unknown module 'w'", "known: down, gate"),
        ("tasks: [sums]", "tasks: [summs]", "summs", "sums"),
        ("rank: 2", "rank: 99", "rank 99", "24"),
        ("name: small", "name: [", "study.yaml", "line"),
    ],
)
def test_a_mistake_in_a_study_file_is_one_line(
    old: str,
    new: str,
    value: str,
    remedy: str,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Path(write_study(world, tmp_path))
    assert old in study.read_text()
    study.write_text(study.read_text().replace(old, new))

    code = main(["sweep", "plan", str(study), "--out", str(tmp_path / "out")])

    assert code == 2
    line = only_line(capsys)
    assert value in line
    assert remedy in line


@pytest.mark.parametrize("damage", ["truncated", "empty", "not safetensors"])
def test_damaged_weights_of_an_artifact_are_refused(
    damage: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "source" / "artifact" / "tiny-qwen3", tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes({"truncated": data[:-100], "empty": b"", "not safetensors": b"x" * 200}[damage])

    code = main(["export", str(tmp_path / "copy"), "--task", "sums", "--out", str(tmp_path / "out")])

    assert code == 2
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


@pytest.mark.parametrize(
    ("key", "value", "named"), [("r", 4, "rank 4"), ("peft_type", "IA3", "LoRA"), ("r", "x", "LoRA")]
)
def test_a_config_that_does_not_fit_its_adapter_is_refused(
    key: str, value: object, named: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(adapter)]) == 0
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    assert config[key] != value
    (adapter / "portal_base.json").unlink()  # another tool's adapter has no digests
    (adapter / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    capsys.readouterr()

    code = main(["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--adapter", str(adapter)])

    assert code == 2
    assert named in only_line(capsys)


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


def test_an_adapter_for_other_weights_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(tmp_path / "a")]) == 0
    make_model("gemma3", hidden=24, layers=2, seed=9).save_pretrained(tmp_path / "other")
    character_tokenizer(bos=True).save_pretrained(tmp_path / "other")
    capsys.readouterr()

    code = main(
        [
            "eval",
            "--base",
            str(tmp_path / "other"),
            "--data",
            str(world / "data"),
            "--adapter",
            str(tmp_path / "a"),
        ]
    )

    assert code == 2
    assert "made for a base of revision" in capsys.readouterr().err


def test_an_adapter_that_peft_would_bind_in_part_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(adapter)]) == 0
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    (adapter / "portal_base.json").unlink()  # another tool's adapter has no digests
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["q_proj"]}))
    capsys.readouterr()

    code = main(["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--adapter", str(adapter)])

    assert code == 2
    assert "peft adapts 2 projections of 'tiny-gemma3', the adapter has 4" in capsys.readouterr().err


def test_a_split_without_rows_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"{n}?", "choices": [" a", " b"], "gold": 0, "split": "test"} for n in range(3)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))

    code = main(["eval", "--base", "tiny-gemma3", "--tasks", str(path), "--split", "train"])

    assert code == 2
    assert "no usable row among 0" in capsys.readouterr().err
