"""What `auto` stands for in a folder is kept, grows by new bases, and is never replaced."""

from pathlib import Path

import pytest

from sweeps.store.kept_precisions import KeptPrecisions


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
def test_a_record_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "precisions.json").write_text(text)

    with pytest.raises(
        ValueError, match=r"precisions\.json: not precisions by base; delete it and run again"
    ) as raised:
        KeptPrecisions(tmp_path).read()
    assert "\n" not in str(raised.value)
