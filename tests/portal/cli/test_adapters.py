"""`portal adapters`: adapters of a registry, for several bases and tasks, as `portal export` writes them."""

from pathlib import Path

import pytest

from portal.cli import main
from tests.support.bases import TASKS
from tests.support.command_line import only_line


@pytest.fixture
def shelf(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A registry of the world's source and port."""
    place = str(tmp_path / "registry")
    assert main(["registry", place, "--add", str(world / "source"), "--add", str(world / "ported")]) == 0
    capsys.readouterr()
    return place


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_every_adapter_is_the_one_that_export_writes(
    world: Path, shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapters"

    assert main(["adapters", "--registry", shelf, "--out", str(out)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * len(TASKS) + 1
    assert lines[-1] == f"which server has which adapter: {out / 'routing.py'}"
    assert {path.name for path in out.iterdir()} == {"tiny-qwen3", "tiny-llama", "tiny-gemma3", "routing.py"}
    assert '("tiny-llama", "sums"): "sums"' in (out / "routing.py").read_text()
    for artifact, base in (
        (world / "source/artifact/tiny-llama", "tiny-llama"),
        (world / "ported", "tiny-gemma3"),
    ):
        assert main(["export", str(artifact), "--all", "--out", str(tmp_path / base)]) == 0
        for task in TASKS:
            assert weights(out / base / task) == weights(tmp_path / base / task)


def test_a_routing_of_ones_own_is_not_replaced_and_nothing_is_written(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routing.py").write_text("SERVERS = {}\n")

    assert main(["adapters", "--registry", shelf, "--out", str(tmp_path)]) == 2

    assert "routing.py: not a file that portal has written" in capsys.readouterr().err
    assert list(tmp_path.rglob("adapter_config.json")) == []


def test_bases_and_tasks_are_chosen_by_name(shelf: str, tmp_path: Path) -> None:
    out = tmp_path / "adapters"
    command = ["adapters", "--registry", shelf, "--for", "tiny-gemma3,tiny-llama", "--tasks", "sums"]

    assert main([*command, "--out", str(out)]) == 0
    assert main([*command, "--out", str(out)]) == 0  # the same adapters are replaced

    found = sorted(str(path.parent.relative_to(out)) for path in out.rglob("adapter_config.json"))
    assert found == ["tiny-gemma3/sums", "tiny-llama/sums"]


def test_nothing_is_written_where_one_folder_is_taken(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapters"
    (out / "tiny-llama" / "sums").mkdir(parents=True)
    (out / "tiny-llama" / "sums" / "notes.txt").write_text("mine")

    assert main(["adapters", "--registry", shelf, "--out", str(out)]) == 2

    assert "holds other files" in only_line(capsys)
    assert list(out.rglob("adapter_config.json")) == []


def test_what_is_not_there_is_named_with_the_nearest(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["adapters", "--registry", shelf, "--out", str(tmp_path / "adapters")]

    assert main([*command, "--for", "tiny-lama"]) == 2
    assert "no artifact for base 'tiny-lama'; did you mean 'tiny-llama'?" in only_line(capsys)
    assert main([*command, "--tasks", "sum"]) == 2
    assert "no latent for task 'sum'; did you mean 'sums'?" in only_line(capsys)
    assert main(["adapters", "--registry", str(tmp_path / "none"), "--out", str(tmp_path / "a")]) == 2
    assert "holds no artifact" in only_line(capsys)
    assert not (tmp_path / "adapters").exists()
