"""`portal export`: every task at once, other layouts, merged weights, cards that say what is known."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects
from safetensors import safe_open

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.cli.app import main
from portal.forward.adapter_hooks import AdapterHooks, Segment
from tests.support.bases import TASKS
from tests.support.command_line import line_after, only_line


def test_all_tasks_are_exported_and_checked_each_in_a_folder_of_its_name(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(world / "ported"), "--all", "--check", "--out", str(tmp_path / "all")]) == 0

    out = capsys.readouterr().out
    assert out.count("checked through peft on tiny-gemma3") == len(TASKS)
    for task in TASKS:
        assert (tmp_path / "all" / task / "adapter_model.safetensors").is_file()


def test_the_card_says_how_the_adapter_was_made_and_what_it_scored(world: Path, tmp_path: Path) -> None:
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(tmp_path / "a")]) == 0

    card = (tmp_path / "a" / "README.md").read_text()
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


def test_the_card_of_an_artifact_from_elsewhere_says_what_is_not_known(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "ported" / "artifact", tmp_path / "elsewhere")
    assert main(["export", str(tmp_path / "elsewhere"), "--task", "sums", "--out", str(tmp_path / "a")]) == 0

    assert "| scores | not recorded |" in (tmp_path / "a" / "README.md").read_text()


def test_an_artifact_that_nothing_vouches_for_is_named_and_a_whole_one_is_not(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world / "ported" / "artifact", copy)
    command = ["export", "--task", "sums", "--out", str(tmp_path / "a")]

    assert main([*command, str(copy)]) == 0
    whole = capsys.readouterr().err
    (copy / "portal.json").unlink()
    assert main([*command, str(copy)]) == 0
    bare = capsys.readouterr().err

    assert "whether it was altered" not in whole
    assert f"portal: {copy}: no portal.json, so whether it was altered is not known" in bare


def test_the_folder_of_a_sources_artifacts_means_them_as_the_output_does(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(world / "source" / "artifact"), "--task", "sums", "--out", str(tmp_path / "a")]

    assert main(command) == 2

    assert "holds artifacts of tiny-llama, tiny-qwen3; name one of them" in only_line(capsys)


def test_several_adapters_are_not_put_into_the_folder_of_one(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "a"
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(one)]) == 0
    capsys.readouterr()

    assert main(["export", str(world / "ported"), "--all", "--out", str(one)]) == 2

    assert "holds an adapter itself" in only_line(capsys)
    assert not (one / "sums").exists()


def test_merged_weights_give_the_adapters_logits_as_a_base_of_their_own(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    assert main(["export", str(world / "ported"), "--task", "sums", "--merge", "--out", str(out)]) == 0
    source = Artifact.load(world / "ported" / "artifact")
    base = load_base("tiny-gemma3")
    ids = torch.arange(3, 30)[None]
    segment = Segment(1, source.factors(("sums",)), source.config.adapter.scaling)
    with torch.inference_mode():
        plain = base.model(input_ids=ids).logits
        with AdapterHooks(base.model, base.sites).active([segment]):
            injected = base.model(input_ids=ids).logits

    merged = load_base(str(out / "merged"))

    with torch.inference_mode():
        logits = merged.model(input_ids=ids).logits
    torch.testing.assert_close(logits, injected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits, plain, atol=1e-4)
    with safe_open(out / "merged" / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - tied weights are written once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give one of --task and --all"),
        (["--task", "sums", "--all"], "give one of --task and --all"),
        (["--task", "sum"], "no task 'sum'; did you mean 'sums'"),
        (["--task", "sums", "--layout", "vllm"], "'--layout': unknown 'vllm'; known: base, text"),
        (["--task", "sums", "--layout", "text"], "this base is text-only already"),
        (["--task", "sums", "--format", "onnx"], "'--format': unknown 'onnx'; known: gguf, peft"),
        (["--task", "sums", "--serve", "tgi"], "'--serve': unknown 'tgi'; known: llama.cpp, sglang, vllm"),
        (["--task", "sums", "--layout", "text", "--check"], "cannot check --layout text"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], message: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(world / "ported"), *options, "--out", str(tmp_path / "a")]) == 2

    assert message in only_line(capsys)


def test_a_push_without_the_hub_says_where_the_adapters_are_and_what_to_set(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    command = ["export", str(world / "ported"), "--task", "sums", "--push", "me/adapters"]

    assert main([*command, "--out", str(tmp_path / "a")]) == 2

    captured = capsys.readouterr().err
    assert "--push me/adapters" in captured
    assert "HF_TOKEN" in captured
    assert str(tmp_path / "a") in captured
    assert (tmp_path / "a" / "adapter_model.safetensors").is_file()


def test_a_check_on_other_weights_than_the_artifacts_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "ported" / "artifact", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    config["base_model_revision"] = "0" * 64
    (tmp_path / "old" / "portal.json").unlink()  # portallib's artifacts have no digests
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    command = ["export", str(tmp_path / "old"), "--task", "sums", "--check", "--out", str(tmp_path / "a")]

    assert main(command) == 2

    assert "the run was planned with 000000000000" in line_after("no portal.json", capsys)


def test_merged_weights_of_an_earlier_export_do_not_stay(world: Path, tmp_path: Path) -> None:
    arguments = ["export", str(world / "ported"), "--out", str(tmp_path / "a"), "--task"]
    assert main([*arguments, "sums", "--merge"]) == 0
    assert (tmp_path / "a" / "merged").is_dir()

    assert main([*arguments, "sums"]) == 0

    assert not (tmp_path / "a" / "merged").exists()


def test_a_push_sends_only_what_was_exported(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, object] = {}
    monkeypatch.setattr(HfApi, "create_repo", lambda api, repository, **options: sent.update(options))
    monkeypatch.setattr(HfApi, "upload_folder", lambda api, **options: sent.update(options) or "address")
    (tmp_path / "secret.txt").write_text("mine")
    out = ["--out", str(tmp_path)]

    assert main(["export", str(world / "ported"), "--all", *out, "--push", "a/b", "--private"]) == 0

    kept = list(filter_repo_objects(["secret.txt", "sums/README.md"], allow_patterns=sent["allow_patterns"]))
    assert kept == ["sums/README.md"]
    assert sent["private"] is True


def test_an_adapter_of_another_task_is_not_replaced(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(world / "ported"), "--out", str(tmp_path / "a"), "--task"]
    assert main([*arguments, "sums", "--merge"]) == 0
    before = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()

    assert main([*arguments, "names"]) == 2

    assert "holds the adapter of task 'sums' on base 'tiny-gemma3'" in capsys.readouterr().err
    assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == before
    assert (tmp_path / "a" / "merged").is_dir()


def test_adapters_for_a_server_come_with_its_command_and_their_routing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all"
    assert main(["export", str(world / "ported"), "--all", "--serve", "vllm", "--out", str(out)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"which server has which adapter: {out / 'routing.py'}"
    assert lines[-1].startswith(f"serve: vllm serve {world / 'gemma3'} --enable-lora --max-lora-rank 8 ")
    assert all(f"{task}={out / task}" in lines[-1] for task in TASKS)
    assert all(f'("tiny-gemma3", "{task}")' in (out / "routing.py").read_text() for task in TASKS)
    assert not list(out.rglob("*.gguf"))


def test_a_gguf_file_is_written_where_it_is_wanted_and_none_of_an_earlier_export_stays(
    world: Path, tmp_path: Path
) -> None:
    command = ["export", str(world / "ported"), "--task", "sums", "--out", str(tmp_path / "a")]

    for options, there in (["--serve", "llama.cpp"], True), ([], False), (["--format", "gguf"], True):
        assert main([*command, *options]) == 0
        assert (tmp_path / "a" / "adapter.gguf").is_file() == there
