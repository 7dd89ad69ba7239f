"""Artifacts, task files and messages from a stranger: refused in one line, or text and nothing else."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from portal.artifacts.artifact_files import CONFIG, RECORD, WEIGHTS
from portal.cli import main
from portal.storage.paths import file_sha256
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.command_line import only_line
from tests.support.studies import Tables


def with_header(header: str, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says of the data."""
    return struct.pack("<Q", len(header)) + header.encode() + data


HEADERS = (
    struct.pack("<Q", 2**60),  # longer than the file
    with_header(
        '{"task_latents": {"dtype": "F32", "shape": [9007199254740991, 64], "data_offsets": [0, 8]}}'
    ),
    with_header(
        '{"task_latents": {"dtype": "F32", "shape": [2], "data_offsets": [4294967288, 4294967296]}}', bytes(8)
    ),
    b"",
)
"""Weights that no writer makes."""


@pytest.fixture
def recorded(unbroken: tuple[Path, Tables], tiny_study: Study, tmp_path: Path) -> Path:
    """A port's artifact, which may be spoilt."""
    port = next(run for run in tiny_study.runs if run.method == "portal")
    copy = tmp_path / "artifact"
    shutil.copytree(RunStore(unbroken[0]).run_folder(port.key) / "artifact", copy)
    return copy


@pytest.mark.slow
def test_weights_with_such_a_header_are_refused_in_one_line(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recorded / RECORD).unlink()  # as another program writes it, without digests
    for header in HEADERS:
        (recorded / WEIGHTS).write_bytes(header)

        assert main(["export", str(recorded), "--task", "counting", "--out", str(tmp_path / "out")]) == 2

        assert str(recorded / WEIGHTS) in only_line(capsys)
        assert not (tmp_path / "out").exists()


def test_a_task_whose_name_is_markup_a_path_or_an_option_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("<img src=x onerror=alert(1)>", "..", "-rf", "a b", "x" * 101):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"prompt": "a", "choices": ["x", "y"], "gold": 0}) + "\n")

        assert main(["tasks", "--tasks", str(path)]) == 2

        assert "is no task name" in only_line(capsys)


def test_a_tag_in_a_task_file_makes_no_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"prompt: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'trace'}]\n")

    assert main(["tasks", "--tasks", str(path)]) == 2

    assert str(path) in only_line(capsys)
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_what_a_failed_run_says_is_text_on_the_page(
    unbroken: tuple[Path, Tables], tiny_study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(unbroken[0], out)
    store, run = RunStore(out), next(run for run in tiny_study.runs if run.method == "lora")
    (store.run_folder(run.key) / "DONE.json").unlink()
    store.mark_failed(run.key, "<script>alert('it ran')</script>", out / "logs" / "lane-0.log")

    assert main(["report", str(out)]) == 0

    page = (out / "report" / "index.html").read_text()
    assert "it ran" in page
    assert "<script>alert" not in page


@pytest.mark.slow
def test_an_artifact_whose_base_would_lead_out_of_a_folder_is_refused(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, record = recorded / CONFIG, json.loads((recorded / RECORD).read_text())
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": ".."}))
    record["files"][CONFIG] = file_sha256(path)
    (recorded / RECORD).write_text(json.dumps(record))
    out = tmp_path / "place" / "out"
    assert main(["registry", str(tmp_path / "shelf"), "--add", str(recorded)]) == 0
    capsys.readouterr()

    assert main(["adapters", "--registry", str(tmp_path / "shelf"), "--out", str(out)]) == 2

    assert "'..' is no name of a base" in only_line(capsys)
    assert not list(tmp_path.glob("place/*"))
