"""A GGUF file is a base: the same logits and tokens, converted once, and verified after that."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from portal.bases import gguf_conversion
from portal.bases.base import load_base
from portal.bases.files import locate, resolve
from portal.bases.gguf_conversion import cache_folder, converted
from portal.storage.paths import file_sha256
from tests.support.gguf_files import tiny_llama, write_gguf


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a GGUF file may be written; conversions go to a folder of their own."""
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "tiny.gguf"


def test_a_file_of_whole_weights_has_the_models_own_logits_and_tokens(path: Path) -> None:
    model = tiny_llama()

    base = load_base(str(write_gguf(path, model)))

    ids = torch.arange(2, 40)[None]
    with torch.inference_mode():
        assert torch.equal(base.model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert (base.num_layers, base.revision) == (2, file_sha256(path))
    tokens = base.tokenizer("hell 12 wé").input_ids  # digits are split, "he" and "ll" are merged
    assert base.tokenizer.convert_ids_to_tokens(tokens)[:7] == [
        "<|start|>", "he", "ll", "Ġ", "1", "2", "Ġw",
    ]  # fmt: skip
    assert base.tokenizer.decode(tokens[1:]) == "hell 12 wé"


def test_a_quantised_file_is_read_as_its_quantised_numbers(path: Path) -> None:
    model = tiny_llama()

    weight = load_base(str(write_gguf(path, model, kind="Q8_0"))).model.model.layers[0].mlp.up_proj.weight

    whole = model.model.layers[0].mlp.up_proj.weight
    assert not torch.equal(weight, whole)
    assert (weight - whole).abs().max() < whole.abs().max() / 127


def test_a_file_is_converted_once_also_by_workers_that_want_it_at_the_same_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, _ = list[Path](), write_gguf(path, tiny_llama())
    convert = gguf_conversion._convert
    monkeypatch.setattr(gguf_conversion, "_convert", lambda *paths: began.append(paths[0]) or convert(*paths))

    with ThreadPoolExecutor(3) as pool:
        found = {*pool.map(converted, [path] * 3), converted(path)}

    assert began == [path]
    ((folder, _),) = found
    assert [entry.name for entry in (cache_folder() / "gguf").iterdir()] == [folder.name]


def test_a_damaged_conversion_is_refused_naming_the_file_and_so_is_another_under_the_planned_name(
    path: Path,
) -> None:
    planned = resolve(str(write_gguf(path, tiny_llama())))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        damaged = Path(locate(str(path)).location) / name
        whole = damaged.read_bytes()
        data = bytearray(whole)
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: damaged since the conversion"):
            load_base(str(path), revision=planned.revision)
        damaged.write_bytes(whole)
    path.unlink()
    write_gguf(path, tiny_llama(), kind="Q8_0")
    with pytest.raises(ValueError, match=f"the run was planned with {planned.revision[:12]}"):
        load_base(str(path), revision=planned.revision)


def test_a_quantisation_that_cannot_be_read_is_refused_naming_it(path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_K
    block = np.zeros((1, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", block, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ValueError, match=r"token_embd.weight is of type Q8_K, which cannot be read"):
        converted(path)


def test_what_is_no_gguf_file_or_has_a_tokenizer_that_cuts_text_in_an_unknown_way_is_refused(
    path: Path,
) -> None:
    with pytest.raises(ValueError, match="no such GGUF file"):
        locate(str(path))
    for content in (b"", b"GGUF", b"no such thing" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not readable as GGUF"):
            converted(path)
    path.unlink()
    write_gguf(path, tiny_llama(), pre="deepseek-coder")
    with pytest.raises(ValueError, match="cuts text in a way that is not known here \\('deepseek-coder'"):
        converted(path)
