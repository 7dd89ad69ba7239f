"""A place that cannot be a study's output folder is refused by name.

What `auto` stands for in a folder is kept, grows by new bases, and is never replaced. A folder knows on which
kind of device its runs were computed last.
"""

from pathlib import Path

import pytest

from sweeps.store.output_folder import (
    KeptDevice,
    KeptPrecisions,
    UsedDevice,
    check_device_kind,
    check_exists,
    check_usable,
    check_writable,
)


@pytest.mark.parametrize("check", [check_writable, check_usable])
def test_a_place_below_a_file_is_refused(check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ValueError, match="file/out: cannot be written"):
        check(tmp_path / "file" / "out")


def test_a_place_that_is_not_there_yet_is_usable_and_stays_away(tmp_path: Path) -> None:
    check_usable(tmp_path / "a" / "b")

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="a/b: no such folder; check --out"):
        check_exists(tmp_path / "a" / "b")
    check_writable(tmp_path / "a" / "b")
    check_exists(tmp_path / "a" / "b")


def test_precisions_come_back_and_new_bases_are_added(tmp_path: Path) -> None:
    kept = KeptPrecisions(tmp_path / "out")

    assert kept.read() == {}
    kept.keep({"wide": "bf16"})
    kept.keep({"narrow": "default"})
    kept.keep({"wide": "bf16", "narrow": "default"})

    assert KeptPrecisions(tmp_path / "out").read() == {"wide": "bf16", "narrow": "default"}


def test_nothing_is_written_where_nothing_was_resolved(tmp_path: Path) -> None:
    KeptPrecisions(tmp_path / "out").keep({})

    assert not (tmp_path / "out").exists()


def test_another_precision_than_the_kept_one_is_refused(tmp_path: Path) -> None:
    kept = KeptPrecisions(tmp_path)
    kept.keep({"wide": "bf16"})

    with pytest.raises(ValueError, match=r"base 'wide': precision 'auto' is 'bf16' in .*, not 'default'"):
        kept.keep({"other": "bf16", "wide": "default"})
    assert kept.read() == {"wide": "bf16"}


@pytest.mark.parametrize("text", ["[]", "{", '{"wide": "auto"}', '{"wide": 16}'])
def test_a_record_of_precisions_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "precisions.json").write_text(text)

    with pytest.raises(
        ValueError, match=r"precisions\.json: not precisions by base; delete it and run again"
    ) as raised:
        KeptPrecisions(tmp_path).read()
    assert "\n" not in str(raised.value)


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
def test_a_record_of_a_device_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "device.json").write_text(text)

    with pytest.raises(ValueError, match=r"device\.json: not a kind of device \(.+\); delete it") as raised:
        KeptDevice(tmp_path).read()
    assert "\n" not in str(raised.value)
