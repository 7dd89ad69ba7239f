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
from tests.support.command_line import Portal
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
def test_weights_with_such_a_header_are_refused_in_one_line(recorded: Path, portal: Portal) -> None:
    (recorded / RECORD).unlink()  # as another program writes it, without digests
    for header in HEADERS:
        (recorded / WEIGHTS).write_bytes(header)

        assert f"artifact/{WEIGHTS}" in portal.refusal("export artifact --task counting --out out")
        assert not Path("out").exists()


def test_a_task_whose_name_is_markup_a_path_or_an_option_is_refused(tmp_path: Path, portal: Portal) -> None:
    for name in ("<img src=x onerror=alert(1)>", "..", "-rf", "a b", "x" * 101):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"prompt": "a", "choices": ["x", "y"], "gold": 0}) + "\n")

        assert "is no task name" in portal.refusal("tasks --tasks", path)


def test_a_tag_in_a_task_file_makes_no_object(tmp_path: Path, portal: Portal) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"prompt: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'trace'}]\n")

    assert str(path) in portal.refusal("tasks --tasks", path)
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
def test_an_artifact_whose_base_would_lead_out_of_a_folder_is_refused(recorded: Path, portal: Portal) -> None:
    path, record = recorded / CONFIG, json.loads((recorded / RECORD).read_text())
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": ".."}))
    record["files"][CONFIG] = file_sha256(path)
    (recorded / RECORD).write_text(json.dumps(record))
    portal("registry shelf --add artifact")

    assert "'..' is no name of a base" in portal.refusal("adapters --registry shelf --out place/out")
    assert not list(Path().glob("place/*"))
