"""A run folder from a stranger: no code in it runs, nothing outside it is touched."""

import pickle
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.launch.driver import run_study
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.studies import Tables, silent

pytestmark = pytest.mark.slow


class Payload:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def hostile(unbroken: tuple[Path, Tables], tmp_path: Path) -> tuple[Path, Path]:
    """(folder, trace): pickles under every name that a reader of Ray's or torch's would open."""
    out, trace = tmp_path / "out", tmp_path / "trace"
    shutil.copytree(unbroken[0], out)
    bomb = pickle.dumps(Payload(trace))
    pickle.loads(pickle.dumps(Payload(tmp_path / "works")))
    assert (tmp_path / "works").exists()
    for name in ("tuner.pkl", "trainer.pkl", "experiment_state-2026.json", ".validate_storage_marker"):
        (out / name).write_bytes(bomb)
    for folder in ("runs", "packs", "rows", "results", "scratch", "claims", "progress"):
        (out / folder).mkdir(exist_ok=True)
        (out / folder / "tuner.pkl").write_bytes(bomb)
    (run, *_) = sorted((out / "runs").glob("*/artifact"))
    (run / "pytorch_model.bin").write_bytes(bomb)
    (pack, *_) = sorted((out / "packs").glob("*/pack.json"))
    state = pack.parent / "state" / "0000000009"
    state.mkdir(parents=True)
    for name in ("tensors.safetensors", "meta.json", "manifest.json", "data.pkl"):
        (state / name).write_bytes(bomb)
    return out, trace


def test_no_command_runs_code_from_a_run_folder(
    hostile: tuple[Path, Path], tiny_study: Study, study_path: Path
) -> None:
    out, trace = hostile
    for command in ("status", "collect", "run", "plan"):
        arguments = ["sweep", command, str(study_path), "--out", str(out)]
        main([*arguments, *(["--executor", "local"] if command == "run" else [])])
    main(["sweep", "fsck", str(out)])
    main(["sweep", "gc", str(out), "--delete"])
    main(["report", str(out)])
    (key, *_) = [run.key for run in tiny_study.runs if run.method == "portal"]
    (RunStore(out).run_folder(key) / "DONE.json").unlink()
    run_study(tiny_study, out, executor="local", console=silent())

    assert not trace.exists()
    assert RunStore(out).is_done(key)


def test_names_in_a_folder_do_not_lead_out_of_it(hostile: tuple[Path, Path], study_path: Path) -> None:
    out, _ = hostile
    outside = out.parent / "outside"
    outside.mkdir()
    (outside / "DONE.json").write_text("{}")
    (out / "runs" / "..%2foutside").mkdir()
    (out / "packs" / "link").symlink_to(outside)

    main(["sweep", "fsck", str(out)])
    main(["sweep", "gc", str(out), "--delete"])
    main(["sweep", "run", str(study_path), "--out", str(out), "--executor", "local"])

    assert sorted(path.name for path in outside.iterdir()) == ["DONE.json"]
