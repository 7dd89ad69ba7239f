"""`portal export`: every task at once, other layouts, merged weights, cards that say what is known."""

import json
import shutil
from pathlib import Path
from shlex import quote

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects
from safetensors import safe_open

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.forward.adapter_hooks import AdapterHooks, Segment
from tests.support.bases import TASKS
from tests.support.command_line import Portal

WEIGHTS = Path("a/adapter_model.safetensors")


@pytest.fixture
def export(world: Path, portal: Portal) -> str:
    """The command that exports from the port into the folder `a`."""
    return f"export '{world}/ported' --out a"


@pytest.fixture
def copy(world: Path, portal: Portal) -> Path:
    """The artifact of the port, in the folder `copy`."""
    return Path(shutil.copytree(world / "ported" / "artifact", "copy"))


def test_all_tasks_are_exported_and_checked_each_in_a_folder_of_its_name(export: str, portal: Portal) -> None:
    printed = portal(f"{export} --all --check")

    assert printed.out.count("checked through peft on tiny-gemma3") == len(TASKS)
    for task in TASKS:
        assert Path("a", task, WEIGHTS.name).is_file()


def test_the_card_says_how_the_adapter_was_made_and_what_it_scored(export: str, portal: Portal) -> None:
    portal(f"{export} --task sums")

    card = Path("a/README.md").read_text()
    assert card.startswith("---\nbase_model: tiny-gemma3\nlibrary_name: peft\n")
    for fact in (
        "converter refitted from a source on tiny-",
        "at most 8 rows of the task",
        "| seed | 3 |",
        "(8 test rows, epoch 1)",
        "| licence of the base | Apache-2.0 |",
        "rank 2, alpha 4, projections q, v",
        "--max-lora-rank 8",
    ):
        assert fact in card, fact


def test_an_artifact_from_elsewhere_has_no_scores_and_one_that_nothing_vouches_for_is_named(
    copy: Path, portal: Portal
) -> None:
    assert "whether it was altered" not in portal("export copy --task sums --out a").err
    assert "| scores | not recorded |" in Path("a/README.md").read_text()
    (copy / "portal.json").unlink()
    told = portal("export copy --task sums --out a").err
    assert "portal: copy: no portal.json, so whether it was altered is not known" in told

    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "base_model_revision": "0" * 64}))
    warning, refusal = portal("export copy --task sums --check --out b", code=2).err.splitlines()
    assert "no portal.json" in warning
    assert "the run was planned with 000000000000" in refusal


def test_merged_weights_give_the_adapters_logits_as_a_base_of_their_own(
    world: Path, export: str, portal: Portal
) -> None:
    portal(f"{export} --task sums --merge")
    source = Artifact.load(world / "ported" / "artifact")
    base = load_base("tiny-gemma3")
    ids = torch.arange(3, 30)[None]
    segment = Segment(1, source.factors(("sums",)), source.config.adapter.scaling)
    with torch.inference_mode():
        plain = base.model(input_ids=ids).logits
        with AdapterHooks(base.model, base.sites).active([segment]):
            injected = base.model(input_ids=ids).logits

    merged = load_base("a/merged")

    with torch.inference_mode():
        logits = merged.model(input_ids=ids).logits
    torch.testing.assert_close(logits, injected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits, plain, atol=1e-4)
    with safe_open("a/merged/model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - tied weights are written once

    before = WEIGHTS.read_bytes()
    other = portal(f"{export} --task names", code=2).err
    assert "holds the adapter of task 'sums' on base 'tiny-gemma3'" in other
    assert WEIGHTS.read_bytes() == before
    assert Path("a/merged").is_dir()
    assert "holds an adapter itself" in portal.refusal(f"{export} --all")
    assert not Path("a/sums").exists()
    portal(f"{export} --task sums")  # what an earlier export has merged does not stay
    assert not Path("a/merged").exists()


def test_a_mistake_is_one_line(world: Path, export: str, portal: Portal) -> None:
    for options, message in {
        "": "give one of --task and --all",
        "--task sums --all": "give one of --task and --all",
        "--task sum": "no task 'sum'; did you mean 'sums'",
        "--task sums --layout vllm": "'--layout': unknown 'vllm'; known: base, text",
        "--task sums --layout text": "this base is text-only already",
        "--task sums --format onnx": "'--format': unknown 'onnx'; known: gguf, peft",
        "--task sums --serve tgi": "'--serve': unknown 'tgi'; known: llama.cpp, sglang, vllm",
        "--task sums --layout text --check": "cannot check --layout text",
    }.items():
        assert message in portal.refusal(f"{export} {options}")
    both = portal.refusal(f"export '{world}/source/artifact' --task sums --out a")
    assert "holds artifacts of tiny-llama, tiny-qwen3; name one of them" in both


def test_a_push_sends_only_what_was_exported_or_says_where_it_is_and_what_to_set(
    export: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = portal(f"{export} --task sums --push me/adapters", code=2).err
    assert "--push me/adapters" in told
    assert "HF_TOKEN" in told
    assert told.endswith("The adapters are in a\n")
    assert WEIGHTS.is_file()

    sent: dict[str, object] = {}
    monkeypatch.setattr(HfApi, "create_repo", lambda api, repository, **options: sent.update(options))
    monkeypatch.setattr(HfApi, "upload_folder", lambda api, **options: sent.update(options) or "address")
    Path("b").mkdir()
    Path("b/secret.txt").write_text("mine")
    portal(f"{export.replace('--out a', '--out b')} --all --push a/b --private")
    kept = list(filter_repo_objects(["secret.txt", "sums/README.md"], allow_patterns=sent["allow_patterns"]))
    assert kept == ["sums/README.md"]
    assert sent["private"] is True


def test_adapters_for_a_server_come_with_its_command_their_routing_and_gguf_files_where_it_wants_them(
    world: Path, export: str, portal: Portal
) -> None:
    for options, there in {"--serve llama.cpp": True, "": False, "--format gguf": True}.items():
        portal(f"{export} --task sums {options}")
        assert Path("a/adapter.gguf").is_file() == there

    lines = portal(f"export '{world}/ported' --out b --all --serve vllm").lines
    assert lines[-2] == "which server has which adapter: b/routing.py"
    assert lines[-1].startswith(
        f"serve: vllm serve {quote(f'{world}/gemma3')} --enable-lora --max-lora-rank 8 "
    )
    assert all(f"{task}=b/{task}" in lines[-1] for task in TASKS)
    assert all(f'("tiny-gemma3", "{task}")' in Path("b/routing.py").read_text() for task in TASKS)
    assert not list(Path("b").rglob("*.gguf"))
