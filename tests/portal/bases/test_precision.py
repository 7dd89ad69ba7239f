"""What a CPU can do is read, a precision that it cannot hold is refused, and `auto` becomes another."""

from pathlib import Path

import pytest
import torch

from portal.bases import precision
from portal.bases.base import load_base
from portal.bases.family import outline_config
from portal.bases.precision import (
    BF16_FLAGS,
    BF16_SWITCH,
    BF16_WIDTH,
    _cpu_flags,
    _listed_flags,
    check_precision,
    cpu_bf16_gain,
    cpu_has_bf16,
    resolve_precision,
)
from portal.config import PrecisionChoice
from tests.support.precision import cpu_with, needs_bf16

LINUX_FLAGS = Path("/proc/cpuinfo")
CPUINFO = """processor\t: 0
model name\t: some CPU
flags\t\t: fpu vme avx512f {more} rdpid

processor\t: 1
flags\t\t: fpu
"""


def test_flags_are_those_that_linux_lists() -> None:
    for flag in BF16_FLAGS:
        assert _listed_flags(CPUINFO.format(more=flag)) == {"fpu", "vme", "avx512f", flag, "rdpid"}
    assert _listed_flags("processor : 0\nFeatures : fp asimd\n") == set()


@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="torch.cpu has no get_capabilities")
@pytest.mark.skipif(not LINUX_FLAGS.is_file(), reason=f"no {LINUX_FLAGS}: no Linux")
def test_torch_and_linux_say_the_same_of_this_cpu() -> None:
    listed = _listed_flags(LINUX_FLAGS.read_text())

    assert listed & set(BF16_FLAGS) == _cpu_flags() & set(BF16_FLAGS)


def test_a_cpu_can_be_taken_for_one_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    with cpu_with("avx512_bf16"):
        assert cpu_has_bf16()
    with cpu_with("avx512_bf16"), monkeypatch.context() as patch:
        patch.setenv(BF16_SWITCH, "0")
        assert not cpu_has_bf16()
        assert cpu_bf16_gain() == 1.0
    with cpu_with("avx512_bf16"), monkeypatch.context() as patch:
        patch.setenv(BF16_SWITCH, "no")
        with pytest.raises(ValueError, match=r"PORTAL_CPU_BF16='no': neither 0, .*, nor 1"):
            cpu_has_bf16()


@pytest.mark.parametrize("flag", BF16_FLAGS)
def test_bf16_needs_one_of_the_instructions_on_a_cpu_and_none_on_a_gpu(flag: str) -> None:
    with cpu_with("avx512_f", flag):
        check_precision("bf16", "cpu")
    with cpu_with("avx512_f", "amx_tile"):
        check_precision("bf16", "cuda")
        check_precision("default", "cpu")
        with pytest.raises(ValueError, match="needs AVX512-BF16 or AMX-BF16 on a CPU, and this machine's"):
            check_precision("bf16", "cpu")
        with pytest.raises(ValueError, match="or with precision 'default', which is fp32 on a CPU") as raised:
            load_base("mini-qwen3-xs", precision="bf16")
    assert "\n" not in str(raised.value)


def test_auto_is_bf16_where_a_cpu_has_it_and_the_base_is_wide_and_others_are_their_own_answer() -> None:
    for width, device, flag, found in (
        (BF16_WIDTH, "cpu", "avx512_bf16", "bf16"),
        (BF16_WIDTH, "cpu", "amx_bf16", "bf16"),
        (BF16_WIDTH - 1, "cpu", "avx512_bf16", "default"),
        (BF16_WIDTH, "cpu", "avx512_f", "default"),
        (BF16_WIDTH, "cuda", "avx512_bf16", "default"),
    ):
        with cpu_with(flag):
            assert resolve_precision("auto", width, device) == found
    choices: list[PrecisionChoice] = ["default", "bf16", "4bit"]
    assert [resolve_precision(choice, 64, "cpu") for choice in choices] == choices


@needs_bf16
def test_auto_is_bf16_only_where_products_are_faster_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = cpu_bf16_gain()

    assert 0.1 < gain < 16  # less would be emulation; no instruction for pairs or tiles gives more
    assert cpu_bf16_gain() == gain  # measured once
    for least, found in ((gain, "bf16"), (1.001 * gain, "default")):
        monkeypatch.setattr(precision, "BF16_GAIN", least)
        assert resolve_precision("auto", BF16_WIDTH, "cpu") == found


def test_the_width_of_a_base_is_known_without_its_files() -> None:
    configs = [outline_config(name).get_text_config() for name in ("mini-qwen3-s", "smollm2-135m")]
    assert [config.hidden_size for config in configs] == [96, 576]


def test_a_base_in_bf16_has_its_weights_rounded_and_frozen() -> None:
    with cpu_with("avx512_bf16"):
        whole, rounded = load_base("mini-gemma3"), load_base("mini-gemma3", precision="bf16")

    weights = dict(rounded.model.named_parameters())
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in weights.values())
    for name, weight in whole.model.named_parameters():
        assert torch.equal(weights[name], weight.bfloat16())
    assert rounded.revision == whole.revision
