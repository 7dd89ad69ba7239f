"""A place that cannot be a study's output folder is refused by name.

What `auto` stands for in a folder is kept, grows by new bases, and is never replaced. A folder knows on which
kind of device its runs were computed last.
"""

from pathlib import Path

import pytest

from sweeps.store.output_folder import (
    UsedDevice,
    check_device_kind,
    check_exists,
    check_usable,
    check_writable,
    keep_precisions,
    kept_precisions,
)


def test_a_place_that_is_not_there_yet_is_usable_and_stays_away_and_one_below_a_file_is_refused(
    tmp_path: Path,
) -> None:
    place = tmp_path / "a" / "b"
    check_usable(place)

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="a/b: no such folder; check --out"):
        check_exists(place)
    check_writable(place)
    check_exists(place)
    (place / "file").write_text("")
    for check in (check_writable, check_usable):
        with pytest.raises(ValueError, match="file/out: cannot be written"):
            check(place / "file" / "out")


def test_precisions_come_back_grow_by_new_bases_and_are_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kept_precisions(out) == {}
    keep_precisions(out, {})
    assert not out.exists()  # nothing was resolved

    for found in ({"wide": "bf16"}, {"narrow": "default"}, {"wide": "bf16", "narrow": "default"}):
        keep_precisions(out, found)
    with pytest.raises(ValueError, match=r"base 'wide': precision 'auto' is 'bf16' in .*, not 'default'"):
        keep_precisions(out, {"other": "bf16", "wide": "default"})
    assert kept_precisions(out) == {"wide": "bf16", "narrow": "default"}


def test_a_record_that_is_none_is_refused_by_name_in_one_line(tmp_path: Path) -> None:
    device = ('{"device": "tpu"}', '{"kind": "cpu"}', '{"device": "cpu", "kind": "cpu"}')
    for read, name, fault, texts in (
        (kept_precisions, "precisions.json", "not precisions by base",
         ('{"wide": "auto"}', '{"wide": 16}')),
        (UsedDevice.kept, "device.json", r"not a kind of device \(.+\)", device),
    ):  # fmt: skip
        for text in ("[]", "{", *texts):
            (tmp_path / name).write_text(text)
            with pytest.raises(ValueError, match=f"{name}: {fault}; delete it and run again") as raised:
                read(tmp_path)
            assert "\n" not in str(raised.value)


def test_the_last_kind_is_kept_and_that_people_named_it_until_another_is_used(tmp_path: Path) -> None:
    assert UsedDevice.kept(tmp_path) is None

    for kind, was_named, holds in (
        ("cuda", False, False),
        ("cpu", False, False),
        ("cpu", True, True),
        ("cpu", False, True),
        ("cuda", False, False),
        ("cpu", False, False),
    ):
        UsedDevice(device=kind, named_for_large_bases=was_named).keep(tmp_path)
        assert UsedDevice.kept(tmp_path) == UsedDevice(device=kind, named_for_large_bases=holds)

    (tmp_path / "device.json").write_text('{"device": "cpu"}')  # of an earlier version
    assert UsedDevice.kept(tmp_path) == UsedDevice(device="cpu")


def test_another_kind_is_refused_with_what_would_do(tmp_path: Path) -> None:
    check_device_kind(None, "cpu", tmp_path)
    check_device_kind("cuda", "cuda", tmp_path)

    with pytest.raises(ValueError, match=r"computed on GPUs, .* on CPUs, .* --gpus N waits .* --device cpu"):
        check_device_kind("cuda", "cpu", tmp_path)
    with pytest.raises(ValueError, match=r"computed on CPUs, .* on GPUs, .* with --device cuda goes on"):
        check_device_kind("cpu", "cuda", tmp_path)
