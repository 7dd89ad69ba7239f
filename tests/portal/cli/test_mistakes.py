"""The `portal` command refuses a mistake in one line and leaves what there was."""

import json
import shutil
from pathlib import Path
from shlex import quote

import pytest

from sweeps.store.lease import acquire
from tests.support.bases import character_tokenizer, make_model
from tests.support.command_line import Portal, write_study

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
    (f"{EVAL} --base tiny-gemma3 --artifact {{w}}/source/artifact/tiny-qwen3", "gemma3", "portal port"),
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
    world: Path, tmp_path: Path, portal: Portal
) -> None:
    for number, (command, value, remedy) in enumerate(MISTAKES):
        folder = tmp_path / str(number)
        folder.mkdir()
        line = portal.refusal(command.format(w=quote(str(world)), t=quote(str(folder))))
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


@pytest.fixture
def study(world: Path, tmp_path: Path, portal: Portal) -> Path:
    return Path(write_study(world, tmp_path))


def test_a_mistake_in_a_study_file_is_one_line(study: Path, portal: Portal) -> None:
    right = study.read_text()
    for old, new, value, remedy in IN_STUDIES:
        assert old in right
        study.write_text(right.replace(old, new))
        line = portal.refusal("sweep plan study.yaml --out out")
        assert value in line, new
        assert remedy in line, (new, line)


def test_an_output_folder_that_cannot_be_made_or_is_in_use_is_refused(
    world: Path, study: Path, portal: Portal
) -> None:
    Path("file").write_text("mine")

    assert "file/out" in portal.refusal(f"export '{world}/ported' --task sums --out file/out")
    assert "file/out" in portal.refusal("sweep run study.yaml --out file/out")
    assert Path("file").read_text() == "mine"
    with acquire(Path("folder")):
        line = portal.refusal("sweep run study.yaml --out folder")
    assert "folder" in line
    assert "in use by process" in line


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch, portal: Portal) -> None:
    def interrupt(name: str, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portal.data.suites.load_suite", interrupt)

    assert "interrupted" in portal("tasks", code=130).err


def test_a_split_without_rows_is_refused_before_anything_is_trained_or_scored(
    world: Path, portal: Portal
) -> None:
    shutil.copytree(world / "data", "data")
    (split,) = Path("data/sums").glob("test.*")
    split.unlink()
    split.with_suffix(".jsonl").write_text("")
    refusal = portal.refusal("train --source tiny-qwen3 --data data --out o")
    assert "test.jsonl: no rows" in refusal
    assert not Path("o/runs").exists()

    rows = [{"prompt": f"{n}?", "choices": [" a", " b"], "gold": 0, "split": "test"} for n in range(3)]
    Path("mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    empty = portal("eval --base tiny-gemma3 --tasks mine.jsonl --split train", code=2).err
    assert "no usable row among 0" in empty


def test_an_adapter_that_does_not_fit_its_config_or_its_base_is_refused(world: Path, portal: Portal) -> None:
    portal(f"export '{world}/ported' --task sums --out adapter")
    make_model("gemma3", hidden=24, layers=2, seed=9).save_pretrained("other")
    character_tokenizer(bos=True).save_pretrained("other")
    path = Path("adapter/adapter_config.json")
    config = json.loads(path.read_bytes())
    command = f"eval --data '{world}/data' --adapter adapter --base"

    assert "made for a base of revision" in portal(f"{command} other", code=2).err
    path.with_name("portal_base.json").unlink()  # another tool's adapter has no digests
    for change, named in (
        ({"r": 4}, "rank 4"),
        ({"peft_type": "IA3"}, "LoRA"),
        ({"r": "x"}, "LoRA"),
        ({"target_modules": ["q_proj"]}, "peft adapts 2 projections of 'tiny-gemma3', the adapter has 4"),
    ):
        assert {**config, **change} != config
        path.write_text(json.dumps({**config, **change}))
        assert named in portal(f"{command} tiny-gemma3", code=2).err.splitlines()[-1]
