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


def test_the_record_names_base_task_and_digests_and_a_damaged_one_is_refused(adapter: Path) -> None:
    record = read_adapter_record(adapter)
    assert record is not None
    assert record.is_for(SUMS)
    assert sorted(record.files) == ["adapter_config.json", "adapter_model.safetensors"]

    for content in ("{}", "[]", "{", '{"base": "tiny", "revision": null}'):
        (adapter / "portal_base.json").write_text(content)
        with pytest.raises(ValueError, match=r"portal_base.json: not"):
            read_adapter_record(adapter)


def test_what_is_edited_is_refused_wherever_the_adapter_is_read_but_for_one_of_another_tool(
    adapter: Path, base: Base
) -> None:
    check_adapter(base, adapter)
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    shifted = {name: tensor + 1e-6 for name, tensor in load_file(weights).items()}
    save_file(shifted, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"adapter_model.safetensors: edited or damaged"):
        check_adapter(base, adapter)
    weights.write_bytes(whole)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 64}))
    message = r"adapter_config.json: edited or damaged since portal_base.json"
    for read in (lambda: check_adapter(base, adapter), lambda: read_peft_factors(adapter, base.device)):
        with pytest.raises(ValueError, match=message):
            read()

    (adapter / "portal_base.json").unlink()
    check_adapter(base, adapter)
    assert len(read_peft_factors(adapter, torch.device("cpu"))) == 6


def test_a_folder_is_free_for_the_same_adapter_only(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for free in (adapter, tmp_path / "empty", tmp_path / "new"):
        check_place(free, SUMS)

    message = r"holds the adapter of task 'sums' on base 'tiny' .*choose another"
    for other in ({"task": "names"}, {"base": "other"}, {"revision": "digest-other"}):
        with pytest.raises(ValueError, match=message):
            check_place(adapter, SUMS.model_copy(update=other))
    (adapter / "portal_base.json").unlink()
    with pytest.raises(ValueError, match="holds an adapter that portal has not exported"):
        check_place(adapter, SUMS)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match="holds other files; choose an empty folder"):
        check_place(adapter, SUMS)
