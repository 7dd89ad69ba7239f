"""A folder goes on with another kind of device only when it is told to."""

from pathlib import Path

import pytest

from sweeps.store.kept_device import KeptDevice


def test_the_first_kind_is_kept_and_goes_on_unasked(tmp_path: Path) -> None:
    kept = KeptDevice(tmp_path / "out")
    assert kept.read() is None

    kept.keep("cuda", told=False)
    kept.keep("cuda", told=False)

    assert KeptDevice(tmp_path / "out").read() == "cuda"


def test_another_kind_is_refused_with_what_would_do(tmp_path: Path) -> None:
    kept = KeptDevice(tmp_path)
    kept.keep("cuda", told=False)

    with pytest.raises(
        ValueError, match=r"computed on GPUs, .* found CPUs, .* --gpus N waits .* --device cpu"
    ):
        kept.keep("cpu", told=False)
    assert kept.read() == "cuda"

    kept.keep("cpu", told=True)
    assert kept.read() == "cpu"
    with pytest.raises(ValueError, match=r"computed on CPUs, .* found GPUs, .*; --device cuda goes on"):
        kept.keep("cuda", told=False)


@pytest.mark.parametrize("text", ["[]", "{", '{"device": "tpu"}', '{"kind": "cpu"}'])
def test_a_record_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "device.json").write_text(text)

    with pytest.raises(ValueError, match=r"device\.json: not a kind of device; delete it") as raised:
        KeptDevice(tmp_path).read()
    assert "\n" not in str(raised.value)
