"""A GGUF file is a base: the same logits and tokens, converted once, and verified after that."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from portal.bases import gguf_conversion
from portal.bases.base import load_base
from portal.bases.files import locate, resolve
from portal.bases.gguf_conversion import cache_folder, converted
from portal.storage.paths import file_sha256
from tests.support.gguf_files import tiny_llama, write_gguf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))


def test_a_file_of_whole_weights_has_the_models_own_logits(tmp_path: Path) -> None:
    model = tiny_llama()
    path = write_gguf(tmp_path / "tiny.gguf", model)

    base = load_base(str(path))

    ids = torch.arange(2, 40)[None]
    with torch.inference_mode():
        assert torch.equal(base.model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert (base.num_layers, base.revision) == (2, file_sha256(path))


def test_a_quantised_file_is_read_as_its_quantised_numbers(tmp_path: Path) -> None:
    model = tiny_llama()
    path = write_gguf(tmp_path / "tiny.gguf", model, kind="Q8_0")

    weight = load_base(str(path)).model.model.layers[0].mlp.up_proj.weight

    whole = model.model.layers[0].mlp.up_proj.weight
    assert not torch.equal(weight, whole)
    assert (weight - whole).abs().max() < whole.abs().max() / 127


def test_the_tokenizer_splits_digits_merges_and_starts_with_bos(tmp_path: Path) -> None:
    base = load_base(str(write_gguf(tmp_path / "tiny.gguf", tiny_llama())))

    tokens = base.tokenizer.convert_ids_to_tokens(base.tokenizer("hell 12 wé").input_ids)

    assert tokens[:5] == ["<|start|>", "he", "ll", "Ġ", "1"]
    assert tokens[5:7] == ["2", "Ġw"]
    assert base.tokenizer.decode(base.tokenizer("hell 12 wé").input_ids[1:]) == "hell 12 wé"


def test_a_file_is_converted_once(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    folder, digest = converted(path)
    written = (folder / "model.safetensors").stat().st_mtime_ns

    assert converted(path) == (folder, digest)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [entry.name for entry in (cache_folder() / "gguf").iterdir()] == [folder.name]


def test_workers_that_want_the_same_file_convert_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, began = write_gguf(tmp_path / "tiny.gguf", tiny_llama()), list[Path]()
    convert = gguf_conversion._convert
    monkeypatch.setattr(gguf_conversion, "_convert", lambda *paths: began.append(paths[0]) or convert(*paths))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(converted, [path] * 3))

    assert began == [path]
    assert len(set(found)) == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_conversion_is_refused_naming_the_file(tmp_path: Path, name: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    planned = resolve(str(path))
    damaged = Path(locate(str(path)).location) / name
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    with pytest.raises(ValueError, match=f"{name}: damaged since the conversion"):
        load_base(str(path), revision=planned.revision)


def test_another_file_under_the_planned_name_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    planned = resolve(str(path))
    path.unlink()
    write_gguf(path, tiny_llama(), kind="Q8_0")

    with pytest.raises(ValueError, match=f"the run was planned with {planned.revision[:12]}"):
        load_base(str(path), revision=planned.revision)


def test_a_tokenizer_that_cuts_text_in_an_unknown_way_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), pre="deepseek-coder")

    with pytest.raises(ValueError, match="cuts text in a way that is not known here \\('deepseek-coder'"):
        converted(path)


def test_a_quantisation_that_cannot_be_read_is_refused_naming_it(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_K][1]
    import numpy as np

    writer.add_tensor(
        "token_embd.weight",
        np.zeros((1, block_bytes), dtype=np.uint8),
        raw_dtype=gguf.GGMLQuantizationType.Q8_K,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ValueError, match=r"token_embd.weight is of type Q8_K, which cannot be read"):
        converted(path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no such thing" * 100])
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)

    with pytest.raises(ValueError, match="not readable as GGUF"):
        converted(path)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such GGUF file"):
        locate(str(tmp_path / "none.gguf"))
