"""portal_base.json: an adapter belongs to a task and a base, its files are those that were written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from portal.artifacts.adapter_record import AdapterRecord, check_place, read_adapter_record
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.evaluate.tasks import check_adapter
from tests.support.artifacts import export_random
from tests.support.bases import make_base

SUMS = AdapterRecord(base="tiny", revision="digest-tiny", task="sums")


@pytest.fixture(scope="module")
def base() -> Base:
    return make_base("tiny", "qwen3")


@pytest.fixture
def adapter(base: Base, tmp_path: Path) -> Path:
    export_random(tmp_path / "adapter", base, AdapterConfig(rank=2))
    return tmp_path / "adapter"


def test_the_record_names_base_task_and_digests(adapter: Path) -> None:
    record = read_adapter_record(adapter)

    assert record is not None
    assert record.is_for(SUMS)
    assert sorted(record.files) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_edited_alpha_is_refused_wherever_the_adapter_is_read(adapter: Path, base: Base) -> None:
    check_adapter(base, adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))

    for read in (lambda: check_adapter(base, adapter), lambda: read_peft_factors(adapter, base.device)):
        with pytest.raises(
            ValueError, match=r"adapter_config.json: edited or damaged since portal_base.json"
        ):
            read()


def test_edited_weights_are_refused(adapter: Path, base: Base) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = {name: tensor + 1e-6 for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})

    with pytest.raises(ValueError, match=r"adapter_model.safetensors: edited or damaged"):
        check_adapter(base, adapter)


def test_an_adapter_of_another_tool_is_read(adapter: Path, base: Base) -> None:
    (adapter / "portal_base.json").unlink()

    check_adapter(base, adapter)
    assert len(read_peft_factors(adapter, torch.device("cpu"))) == 6


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"base": "tiny", "revision": null}'])
def test_a_damaged_record_is_refused(adapter: Path, content: str) -> None:
    (adapter / "portal_base.json").write_text(content)

    with pytest.raises(ValueError, match=r"portal_base.json: not"):
        read_adapter_record(adapter)


def test_a_folder_is_free_for_the_same_adapter_only(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for free in (adapter, tmp_path / "empty", tmp_path / "new"):
        check_place(free, SUMS)

    others = {"task": "names", "base": "other", "revision": "digest-other"}
    for key, value in others.items():
        with pytest.raises(
            ValueError, match=r"holds the adapter of task 'sums' on base 'tiny' .*choose another"
        ):
            check_place(adapter, SUMS.model_copy(update={key: value}))


def test_a_folder_with_an_adapter_of_unknown_origin_or_other_files_is_not_free(
    adapter: Path, tmp_path: Path
) -> None:
    (adapter / "portal_base.json").unlink()
    with pytest.raises(ValueError, match="holds an adapter that portal has not exported"):
        check_place(adapter, SUMS)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match="holds other files; choose an empty folder"):
        check_place(adapter, SUMS)
