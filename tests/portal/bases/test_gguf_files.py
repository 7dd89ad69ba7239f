"""Files inside installed distributions, whole or in parts."""

import hashlib
import importlib
from pathlib import Path

import pytest

from portal.bases.gguf_files import PackagedFile

CONTENT = b"first half, second half"


def install(site: Path, name: str, file: str, content: bytes) -> None:
    """A distribution as an installer leaves it."""
    module = name.replace("-", "_")
    (site / module).mkdir(parents=True)
    (site / module / file).write_bytes(content)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{module}/{file},,\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "site"


def parts(digest: str) -> PackagedFile:
    return PackagedFile("m.gguf", ("toy-part1", "toy-part2"), digest, "pip install toy")


def test_parts_are_joined_once_in_their_order_and_a_missing_one_says_how_to_install_it(site: Path) -> None:
    install(site, "toy-part1", "m.gguf.part00", CONTENT[:10])
    file = parts(hashlib.sha256(CONTENT).hexdigest())
    assert not file.is_installed()
    with pytest.raises(ValueError, match=r"m.gguf: not installed; pip install toy"):
        file.path()

    install(site, "toy-part2", "m.gguf.part01", CONTENT[10:])
    importlib.invalidate_caches()
    assert file.is_installed()
    assert file.path().read_bytes() == CONTENT
    assert file.path() == file.path()


def test_parts_of_another_file_are_refused(site: Path, tmp_path: Path) -> None:
    install(site, "toy-part1", "m.gguf.part00", CONTENT[:10])
    install(site, "toy-part2", "m.gguf.part01", b"something else")

    with pytest.raises(ValueError, match=r"its parts join to sha256 .*; install them anew: pip install toy"):
        parts(hashlib.sha256(CONTENT).hexdigest()).path()
    assert list((tmp_path / "cache" / "gguf").iterdir()) == []


def test_a_whole_file_is_used_where_it_lies(site: Path) -> None:
    install(site, "toy", "m.gguf", CONTENT)

    assert PackagedFile("m.gguf", ("toy",), "0", "pip install toy").path() == site / "toy" / "m.gguf"
