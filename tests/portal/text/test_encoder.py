"""Sentence encoders: where they come from, what they embed, and what is said where there is none."""

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from portal.config import MINILM
from portal.text import encoder
from portal.text.encoder import HUB_FILES, check_library, find_encoder
from tests.support.encoders import WIDTH, save_encoder

TEXTS = ["name the town", "what is the sum of a number and a number"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def test_a_folder_of_sentence_transformers_embeds_each_text_alone_at_unit_length(folder: Path) -> None:
    encoder = find_encoder(str(folder))
    found = encoder.embed(TEXTS)

    assert (found.shape, found.dtype) == ((2, WIDTH), torch.float32)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert not torch.allclose(found[0], found[1])
    assert torch.equal(encoder.embed(TEXTS[:1]), found[:1])


def test_every_file_of_an_encoder_is_in_its_digest_by_which_another_is_refused_and_no_other_is_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "encoder")
    digests = [find_encoder(str(each)).sha256 for each in (folder, copy)]
    assert find_encoder(str(folder), sha256=digests[1]).sha256 == digests[0]
    for name in ("model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        digests.append(find_encoder(str(copy)).sha256)
        with pytest.raises(ValueError, match=f"its files are .* here, {digests[0][:12]} are needed"):
            find_encoder(str(copy), sha256=digests[0])
    assert len(set(digests)) == 4

    wanted = ["model.safetensors", "2_Dense/model.safetensors", "modules.json", "1_Pooling/config.json"]
    others = ["pytorch_model.bin", "onnx/model.onnx", "tf_model.h5"]
    found = filter_repo_objects([*wanted, "vocab.txt", *others], allow_patterns=list(HUB_FILES))
    assert list(found) == [*wanted, "vocab.txt"]


def test_an_unknown_or_damaged_encoder_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    for name in ("nowhere", "./nowhere", "/no/such/folder"):
        with pytest.raises(ValueError, match=f"no such folder; known by name: {MINILM}"):
            find_encoder(name)
    with pytest.raises(ValueError, match=r"has no modules\.json, as sentence-transformers saves it"):
        find_encoder(str(tmp_path))

    copy = shutil.copytree(folder, tmp_path / "encoder")
    (copy / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="does not load: ") as caught:
        find_encoder(str(copy)).embed(TEXTS)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda wanted: None)

    for fails in (check_library, lambda: find_encoder(MINILM)):
        with pytest.raises(ValueError, match=r"pip install 'portal-sweeps\[text\]'"):
            fails()


@pytest.mark.slow
def test_minilm_puts_two_phrasings_of_one_request_nearer_than_two_requests() -> None:
    town, home, colour = find_encoder(MINILM).embed(
        ["Name the town where the person lives.", "Where is their home?", "Which colour is the thing?"]
    )

    assert town @ home > max(town @ colour, home @ colour)
