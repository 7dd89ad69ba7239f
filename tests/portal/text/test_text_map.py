"""The map from descriptions to latents: what its file keeps, and when it is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from portal.config import TextConfig
from portal.text.text_map import TEXT_MAP, TextMap

WIDTH = 8
TEXT = TextConfig(encoder="minilm", encoder_sha256="0" * 64)


def written(folder: Path) -> tuple[Path, nn.Linear]:
    torch.manual_seed(0)
    linear = nn.Linear(WIDTH, 5)
    (folder / TEXT_MAP).write_bytes(TextMap.of(linear, TEXT).to_bytes())
    return folder / TEXT_MAP, linear


def test_a_map_is_read_back_to_the_last_bit_and_gives_the_latents_of_the_trained_one(tmp_path: Path) -> None:
    path, linear = written(tmp_path)
    embedding_ND = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))

    found = TextMap.read(path, width=5)

    assert torch.equal(found.weight_ZD, linear.weight)
    assert torch.equal(found.bias_Z, linear.bias)
    assert (found.encoder, found.encoder_sha256) == (TEXT.encoder, TEXT.encoder_sha256)
    with torch.no_grad():
        torch.testing.assert_close(found.latents(embedding_ND), linear(embedding_ND))
    with pytest.raises(ValueError, match="to latents of width 5, 6 is expected"):
        TextMap.read(path, width=6)


def test_a_damaged_or_foreign_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="damaged or missing text map"):
        TextMap.read(path, width=5)

    save_file({"weight": torch.zeros(5, WIDTH), "bias": torch.zeros(5)}, path)
    with pytest.raises(ValueError, match="not the text map of an artifact"):
        TextMap.read(path, width=5)
