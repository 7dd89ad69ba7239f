"""A base loads whole and pinned, or not at all.

Which GPU holds which part of a base: whole layers, in order, the fullest as empty as can be. What a token
meets of a mixture: by the config's count of experts per token, against counted parameters.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GptOssConfig, Llama4TextConfig, Qwen3ForCausalLM

from portal.bases.base import _places, _quantisation, divide, idle_params, layer_bytes, load_base, part_bytes
from portal.bases.family import (
    base_config,
    base_layout,
    base_sites,
    load_tokenizer,
    model_class,
    outline_config,
    tokenizer_digest,
)
from portal.bases.files import BaseFiles, folder_digest, locate, resolve
from portal.bases.registry import list_bases
from portal.bases.sites import find_layer_path
from portal.config import Precision
from tests.support.bases import character_tokenizer, make_model
from tests.support.zoo import tiny_base, tiny_config

FAMILIES = ("qwen3", "llama", "gemma3")


def write_base(folder: Path, family: str, *, seed: int = 0, bos: bool | None = None) -> Path:
    make_model(family, hidden=24, layers=2, seed=seed).save_pretrained(folder)
    character_tokenizer(bos=family == "gemma3" if bos is None else bos).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write_base(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture
def folder(saved: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a saved base that a test may damage."""
    shutil.copytree(saved["qwen3"], tmp_path / "base")
    return tmp_path / "base"


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_saved_base_loads_with_its_weights_frozen_in_fp32_and_evaluation_mode(
    saved: dict[str, Path], family: str, tmp_path: Path
) -> None:
    original = make_model(family, hidden=24, layers=2, seed=0)

    base = load_base(str(saved[family]))

    ids = torch.arange(3, 20)[None]
    assert torch.equal(base.model(input_ids=ids).logits, original(input_ids=ids).logits)
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert not base.model.training
    assert not base.model.config.use_cache
    assert base.model.config._attn_implementation == "sdpa"
    assert base.tokenizer("a b").input_ids == character_tokenizer(bos=family == "gemma3")("a b").input_ids
    assert (base.num_layers, base.layer_path, base.device.type) == (2, "model.layers", "cpu")
    layers = original.get_submodule("model.layers")
    assert base.num_decoder_params == sum(parameter.numel() for parameter in layers.parameters())
    shutil.copy(saved[family] / "config.json", tmp_path)
    assert base_sites(str(tmp_path)) == base.sites  # known from the config alone
    assert base.public_name == str(saved[family])
    assert base.text_config.model_type == json.loads((tmp_path / "config.json").read_text())["model_type"]


def test_weights_in_fp16_are_widened_to_fp32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    halves = {name: tensor.half() for name, tensor in weights.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})

    base = load_base(str(folder))

    for name, parameter in base.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, halves[name].float())


class Packed(nn.Linear):
    """A linear layer as bitsandbytes keeps it in 4 bits: two weights in a byte."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        packed = torch.zeros(linear.weight.numel() // 2, 1, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)


def test_parameters_are_counted_alike_where_weights_lie_packed(folder: Path) -> None:
    plain, packed = load_base(str(folder)), load_base(str(folder))
    for site in packed.sites:
        packed.model.set_submodule(site.path, Packed(packed.model.get_submodule(site.path)))

    layers = plain.model.get_submodule(plain.layer_path)
    assert plain.num_decoder_params == sum(parameter.numel() for parameter in layers.parameters())
    assert packed.num_decoder_params == plain.num_decoder_params


def test_an_8_bit_base_is_loaded_without_the_rule_for_outliers() -> None:
    config = _quantisation("8bit")["quantization_config"]

    assert (config.load_in_8bit, config.llm_int8_threshold) == (True, 0.0)


def test_weights_that_are_placed_while_they_are_read_go_to_the_workers_gpu_by_its_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads that read them do not have the worker's current device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    config, device = base_config(str(folder)), torch.device("cuda")
    cases: tuple[tuple[Precision, bool], ...] = (("8bit", False), ("4bit", False), ("bf16", True))

    for precision, dequantised in cases:
        found = _places(config, device, precision, (), is_dequantised=dequantised)
        assert found == {"device_map": {"": torch.device("cuda", 3)}}


def test_a_base_is_pinned_by_the_digest_of_its_own_files_and_refused_where_one_changed(folder: Path) -> None:
    planned = resolve(str(folder))
    (folder / "README.md").write_text("words")

    assert (planned.name, planned.revision) == (str(folder), folder_digest(folder))
    assert load_base(str(folder), revision=planned.revision).revision == planned.revision
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        message = refusal(lambda: load_base(str(folder), revision=planned.revision))
        assert f"the run was planned with {planned.revision[:12]}" in message
        assert folder_digest(folder)[:12] in message
        (folder / name).write_bytes(whole)


def change_json(folder: Path, file: str = "config.json", **changes: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


UP, FURTHER = "model.layers.1.mlp.up_proj.weight", "model.layers.7.mlp.up_proj.weight"


def test_weights_and_folders_that_are_not_whole_are_refused_naming_what_is_wrong(folder: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, told = weights.read_bytes(), config.read_bytes()

    def refused() -> str:
        found = refusal(lambda: load_base(str(folder)))
        assert str(folder) in found
        weights.write_bytes(whole)
        return found

    for name, tensor, fault in (
        (UP, None, f"missing_keys: ['{UP}']"),
        (FURTHER, torch.zeros(2, 2), f"unexpected_keys: ['{FURTHER}']"),
        (UP, torch.zeros(2, 2), UP),
    ):
        tensors = {**load_file(weights), name: tensor}
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        save_file(kept, weights, metadata={"format": "pt"})
        assert fault in refused()
    for share in (0.0, 0.001, 0.5, 0.999):
        weights.write_bytes(whole[: int(share * len(whole))])
        refused()
    for missing in (weights, config):
        missing.unlink()
        refused()
    for content in ("", "{", '{"model_type": "no such family"}'):
        config.write_text(content)
        for act in (load_base, base_config, base_sites):
            assert f"base {str(folder)!r}: cannot be read from" in refusal(lambda act=act: act(str(folder)))
    config.write_bytes(told)
    load_base(str(folder))


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(folder: Path, tmp_path: Path) -> None:
    without = write_base(tmp_path / "without", "gemma3", bos=False)
    gemma = write_base(tmp_path / "gemma", "gemma3")
    change_json(gemma, bos_token_id=7)
    change_json(folder, vocab_size=50)

    assert "does not put BOS first" in refusal(lambda: load_base(str(without)))
    assert "BOS is 1 in its tokenizer and 7 in its config" in refusal(lambda: load_tokenizer(str(gemma)))
    message = refusal(lambda: load_tokenizer(str(folder)))
    assert "its tokenizer has token 102, the model only 50" in message


def test_bos_is_put_first_where_a_llama_tokenizers_settings_say_so(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    for named, first in (("LlamaTokenizerFast", True), ("PreTrainedTokenizerFast", False)):
        base = Path(shutil.copytree(saved["llama"], tmp_path / named))
        change_json(base, "tokenizer.json", post_processor=byte_level)
        own = {"bos_token": "<bos>", "add_bos_token": True, "tokenizer_class": named}
        change_json(base, "tokenizer_config.json", **own)

        tokenizer = load_tokenizer(str(base))

        assert (tokenizer("a b").input_ids[0] == tokenizer.bos_token_id) is first


def test_a_known_base_is_pinned_without_asking_anyone_and_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("qwen3-8b").revision == "b968826d9c46dd6066d109eabc6255188de91218"
    assert locate("gemma-3-4b") == BaseFiles(
        "gemma-3-4b", "google/gemma-3-4b-pt", "cc012e0a6d0787b4adcc0fa2c4da74402494554d"
    )
    assert locate("google/gemma-3-4b-pt").commit == locate("gemma-3-4b").commit
    assert all(base.revision is None or len(base.revision) == 40 for base in list_bases())
    assert "HF_HUB_OFFLINE=1" in refusal(lambda: resolve("org/model"))
    for act in (locate, resolve, base_config, load_base, load_tokenizer):
        message = refusal(lambda act=act: act("qwen3-4bb"))
        assert message.startswith("unknown base 'qwen3-4bb'; did you mean 'qwen3-4b'?")


def test_bases_that_tokenise_alike_share_a_tokenizer_digest(saved: dict[str, Path]) -> None:
    digests = {family: tokenizer_digest(str(saved[family])) for family in FAMILIES}

    assert digests["qwen3"] == digests["llama"]
    assert digests["qwen3"] != digests["gemma3"]


def test_what_is_no_base_is_refused_in_one_line_from_its_config(tmp_path: Path) -> None:
    for family, message in {
        "bart": "bart is an encoder-decoder model, which is no base",
        "dbrx": "transformers makes no causal language model of its config",
        "t5": "t5 is an encoder-decoder model",
        "rwkv": "RwkvForCausalLM has no decoder layers at any of model.layers",
        "zaya": "model.layers.0.self_attn.qkv_proj is a ZayaCCAProjection, not a linear",
    }.items():
        AutoConfig.for_model(family).save_pretrained(tmp_path / family)

        found = refusal(lambda family=family: base_layout(str(tmp_path / family)))

        assert message in found
        assert len(found) < 600


CODE = """
from pathlib import Path
from transformers import PretrainedConfig, PreTrainedTokenizerFast
Path(__file__).with_name("ran").touch()
class OwnConfig(PretrainedConfig):
    model_type = "own"
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


def test_code_beside_a_model_is_never_run_and_a_known_model_and_its_tokenizer_are_loaded_without_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user answers yes to every question, and the code notes that it ran."""
    monkeypatch.setattr("builtins.input", lambda prompt="": "y")
    (folder / "own.py").write_text(CODE)
    own = {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}, "tokenizer_class": "OwnTokenizer"}
    change_json(folder, "tokenizer_config.json", **own)
    load_tokenizer(str(folder))
    code = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change_json(folder, auto_map=code)
    assert load_base(str(folder)).model.config.model_type == "qwen3"

    change_json(folder, model_type="own", architectures=["OwnModel"])
    for act in (base_config, base_layout, load_base, load_tokenizer):
        message = refusal(lambda act=act: act(str(folder)))
        assert "needs code that comes with it, which is never run" in message
    assert not (folder / "ran").exists()


def test_weights_for_which_there_is_no_room_are_no_unreadable_base(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantised and divided ones take their place while they are read."""

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    monkeypatch.setattr(Qwen3ForCausalLM, "from_pretrained", full)

    with pytest.raises(torch.OutOfMemoryError, match="2 GiB"):
        load_base(str(folder))


@cache
def outline(name: str) -> Any:
    config = outline_config(name)
    with torch.device("meta"):
        return model_class(config).from_config(config)


def layers_of(places: dict[str, int], path: str) -> list[int]:
    count = sum(name.startswith(f"{path}.") for name in places)
    return [places[f"{path}.{index}"] for index in range(count)]


def test_layers_are_whole_in_order_and_every_parameter_has_a_place_in_families_of_any_layout() -> None:
    known = dict.fromkeys(("qwen3-8b", "gemma-3-4b", "smollm2-360m"), (2, 3, 4, 8))
    families = ("gpt2", "gpt_bigcode", "qwen3_5_text", "llama4_text", "opt", "bloom")
    for name, counts in {**known, **dict.fromkeys(families, (2,))}.items():
        model = outline(name) if name in known else tiny_outline(name)
        for count in counts:
            places = divide(model, count, "default", torch.bfloat16)
            order = layers_of(places, find_layer_path(model))
            assert order == sorted(order)
            assert set(order) == set(range(count))
            for parameter, _ in model.named_parameters():
                assert sum(f"{parameter}.".startswith(f"{place}.") for place in places) == 1
            everything = sum({id(each): each.numel() for each in model.parameters()}.values())
            assert sum(part_bytes(model, places, "default", torch.bfloat16)) == 2 * everything


def tiny_outline(family: str) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(tiny_config(family))


@pytest.mark.parametrize(("count", "precision"), [*product([2, 3, 5], ["default", "4bit"])])
def test_no_other_division_leaves_the_fullest_gpu_emptier(count: int, precision: Precision) -> None:
    model = outline("qwen3-0.6b")
    path, dtype = find_layer_path(model), torch.bfloat16
    places = divide(model, count, precision, dtype)
    fullest = max(part_bytes(model, places, precision, dtype))
    size = layer_bytes(model.get_submodule(path)[0], precision, dtype)

    layers = layers_of(places, path)
    held = part_bytes(model, places, precision, dtype)
    fixed = [own - size * layers.count(gpu) for gpu, own in enumerate(held)]

    def possible(limit: float) -> bool:
        """Whether GPUs with at most so many bytes hold all layers, each of them one at least."""
        fitting = [int((limit - own) / size + 1e-9) for own in fixed]
        return min(fitting) >= 1 and sum(fitting) >= len(layers)

    assert possible(fullest)
    assert not possible(fullest - size / 100)


def test_a_tied_head_is_with_the_embedding_and_4_bit_linears_make_layers_smaller_beside_one() -> None:
    tied, untied = outline("qwen3-4b"), outline("qwen3-8b")

    assert divide(tied, 4, "default", torch.bfloat16)["lm_head"] == 0
    places = divide(untied, 4, "default", torch.bfloat16)
    assert (places["model.embed_tokens"], places["model.norm"], places["lm_head"]) == (0, 3, 3)
    whole, packed = (
        part_bytes(untied, divide(untied, 2, held, torch.bfloat16), held, torch.bfloat16)
        for held in ("default", "4bit")
    )
    assert sum(packed) < 0.45 * sum(whole)
    assert max(packed) < 1.1 * min(packed)


def test_layers_that_share_weights_and_fewer_than_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match="its layers share weights, so they cannot be divided over GPUs"):
        divide(tiny_outline("zamba2"), 2, "default", torch.bfloat16)
    with pytest.raises(ValueError, match=r"^3 layers cannot be divided over 4 GPUs$"):
        divide(outline("village-qwen3-xs"), 4, "default", torch.bfloat16)


def active_billions(config: object) -> float:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = model.get_submodule(find_layer_path(model))
    return (sum(each.numel() for each in layers.parameters()) - idle_params(layers, model.config)) / 1e9


def test_known_mixtures_have_as_many_active_parameters_as_they_are_known_for() -> None:
    # Their names and cards count embedding and head, too, gpt-oss-120b's 5.1 billion the head alone.
    assert active_billions(GptOssConfig()) == pytest.approx(5.1 - 0.58, rel=0.03)
    assert active_billions(Llama4TextConfig()) == pytest.approx(17 - 2.07, rel=0.02)
    dense = outline("qwen3-8b")
    assert idle_params(dense, dense.config) == 0


def test_a_base_counts_the_experts_that_a_token_meets() -> None:
    for family in ("mixtral", "qwen3_moe", "deepseek_v3"):
        base = tiny_base(family)
        experts = [each for each in base.model.modules() if type(each).__name__.endswith("Experts")]
        first = next(iter(experts[0].parameters(recurse=False)))
        met = tiny_config(family).num_experts_per_tok

        idle = sum(weight[met:].numel() for each in experts for weight in each.parameters(recurse=False))

        assert 0 < met < len(first)
        assert base.num_decoder_params - base.num_active_params == idle > 0
