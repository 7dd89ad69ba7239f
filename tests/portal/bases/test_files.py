"""A hub that refuses: one line says what is wrong and which variable helps. A local server plays the hub."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.bases.family import load_tokenizer
from portal.bases.files import locate, resolve
from portal.bases.registry import MINI_FOLDER
from tests.support.command_line import in_new_process
from tests.support.servers import refusing_hub


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with refusing_hub() as (address, _):
        yield address


COMMANDS = {  # with what is said of them
    "eval --base org/gated-model --tasks fact_qa": ("org/gated-model is gated", "set HF_TOKEN"),
    "eval --base org/absent-model --tasks fact_qa": (
        "the hub has no repository org/absent-model",
        "set HF_TOKEN",
    ),
    "tasks --tasks copa": ("data set 'aps/super_glue' (copa)", "HF_TOKEN"),
    "export org/gated-artifact --all --out out": (
        "artifact 'org/gated-artifact'",
        "is gated",
        "set HF_TOKEN",
    ),
}


def test_a_refusal_is_one_line_that_names_the_repository_and_the_remedy(hub: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "PORTAL_DATA")}
    environment = kept | {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "no_proxy": "127.0.0.1"}

    ends = in_new_process([line.split() for line in COMMANDS], folder=tmp_path, environment=environment)

    for ended, messages in zip(ends, COMMANDS.values(), strict=True):
        (line,) = [line for line in ended.err.splitlines() if line.startswith("portal: ")]
        assert ended.code == 2
        assert "Traceback" not in ended.err
        assert [message for message in messages if message not in line] == []


def test_a_folder_that_is_no_model_is_told_by_what_it_holds(tmp_path: Path) -> None:
    holds: tuple[tuple[dict[str, str], list[str]], ...] = (
        ({}, ["holds no model (no config.json)", "`portal bases`", "a GGUF file", "'org/model'"]),
        ({"config.json": '{"format_version": 1}'}, ["holds no model (its config.json is not a model's)"]),
        ({"b.gguf": "", "a.gguf": ""}, ["holds no model", "name its GGUF file: ", "a.gguf"]),
        ({"adapter_config.json": "{}", "config.json": "{}"}, ["holds a PEFT adapter"]),
    )
    for number, (files, messages) in enumerate(holds):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        with pytest.raises(ValueError, match=f"base '{folder}'") as raised:
            locate(str(folder))
        assert [message for message in messages if message not in str(raised.value)] == []
    for name in ("/nowhere/base", "./base", "models/base/"):
        with pytest.raises(ValueError, match=f"base '{name}': no such folder"):
            locate(name)


def test_a_hub_that_cannot_be_reached_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert resolve("qwen3-4b").revision.startswith("1cfa9a7")
    with pytest.raises(ValueError, match="base 'org/model': cannot be read from 'org/model': "):
        resolve("org/model")


def test_a_damaged_file_of_a_base_is_named(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(MINI_FOLDER / "mini-qwen3-xs", base)
    content = (base / "tokenizer.json").read_text()
    (base / "tokenizer.json").write_text(content[: len(content) // 2])

    with pytest.raises(ValueError, match=r"Expecting value: .* \(tokenizer\.json is damaged\)$"):
        load_tokenizer(str(base))
