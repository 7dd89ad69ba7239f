"""A folder knows on which kind of device its runs were computed last."""

from pathlib import Path

import pytest

from sweeps.store.kept_device import KeptDevice, UsedDevice, check_device_kind


def test_the_last_kind_is_kept(tmp_path: Path) -> None:
    kept = KeptDevice(tmp_path / "out")
    assert kept.read() is None

    kept.keep("cuda", named_for_large_bases=False)
    kept.keep("cuda", named_for_large_bases=False)
    assert KeptDevice(tmp_path / "out").read() == UsedDevice(device="cuda")

    kept.keep("cpu", named_for_large_bases=False)
    assert kept.read() == UsedDevice(device="cpu")


def test_that_people_named_a_kind_holds_until_another_is_used(tmp_path: Path) -> None:
    kept = KeptDevice(tmp_path)

    kept.keep("cpu", named_for_large_bases=True)
    kept.keep("cpu", named_for_large_bases=False)
    assert kept.read() == UsedDevice(device="cpu", named_for_large_bases=True)

    kept.keep("cuda", named_for_large_bases=False)
    assert kept.read() == UsedDevice(device="cuda")
    kept.keep("cpu", named_for_large_bases=False)
    assert kept.read() == UsedDevice(device="cpu")


def test_a_record_of_an_earlier_version_has_named_nothing(tmp_path: Path) -> None:
    (tmp_path / "device.json").write_text('{"device": "cpu"}')

    assert KeptDevice(tmp_path).read() == UsedDevice(device="cpu")


def test_another_kind_is_refused_with_what_would_do(tmp_path: Path) -> None:
    check_device_kind(None, "cpu", tmp_path)
    check_device_kind("cuda", "cuda", tmp_path)

    with pytest.raises(ValueError, match=r"computed on GPUs, .* on CPUs, .* --gpus N waits .* --device cpu"):
        check_device_kind("cuda", "cpu", tmp_path)
    with pytest.raises(ValueError, match=r"computed on CPUs, .* on GPUs, .* with --device cuda goes on"):
        check_device_kind("cpu", "cuda", tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"device": "tpu"}', '{"kind": "cpu"}', '{"device": "cpu", "kind": "cpu"}']
)
def test_a_record_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "device.json").write_text(text)

    with pytest.raises(ValueError, match=r"device\.json: not a kind of device; delete it") as raised:
        KeptDevice(tmp_path).read()
    assert "\n" not in str(raised.value)
