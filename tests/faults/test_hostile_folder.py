"""A run folder from a stranger: no code in it runs, nothing outside it is touched."""

import pickle
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from sweeps.launch.driver import run_study
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from tests.support.command_line import Portal
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


def test_no_command_runs_code_from_a_run_folder_or_is_led_out_of_it(
    hostile: tuple[Path, Path], tiny_study: Study, study_path: Path
) -> None:
    out, trace = hostile
    outside = out.parent / "outside"
    outside.mkdir()
    (outside / "DONE.json").write_text("{}")
    (out / "runs" / "..%2foutside").mkdir()
    (out / "packs" / "link").symlink_to(outside)
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
    assert [path.name for path in outside.iterdir()] == ["DONE.json"]


def test_no_command_runs_code_from_an_artifact_an_adapter_or_a_registry(world: Path, tmp_path: Path) -> None:
    trace, artifact, shelf = tmp_path / "trace", tmp_path / "artifact", tmp_path / "shelf"
    shutil.copytree(world / "ported" / "artifact", artifact)
    assert main(["export", str(artifact), "--task", "sums", "--out", str(tmp_path / "adapter")]) == 0
    assert main(["registry", str(shelf), "--add", str(artifact)]) == 0
    (kept,) = (shelf / "artifacts").iterdir()
    bomb = pickle.dumps(Payload(trace))
    names = ("adapter_model.bin", "pytorch_model.bin", "training_args.bin", "portal.pkl", "model.pt")
    for folder in (artifact, tmp_path / "adapter", kept):
        for name in names:
            (folder / name).write_bytes(bomb)
    data, base = ["--data", str(world / "data")], ["--base", "tiny-gemma3"]
    short = ["--examples", "4", "--epochs", "1", "--no-base"]
    commands = (
        ["inspect", str(artifact)],
        ["export", str(artifact), "--task", "sums", "--out", str(tmp_path / "again"), "--check"],
        ["eval", "--artifact", str(artifact), *base, "--tasks", "sums", *data],
        ["eval", "--adapter", str(tmp_path / "adapter"), *base, "--tasks", "sums", *data],
        ["port", str(artifact), "--to", "tiny-llama", "--out", str(tmp_path / "ported"), *short, *data],
        ["teach", str(artifact), "--on", "tiny-gemma3", "--tasks", "extra", "--out", str(tmp_path / "taught"),
         *short, "--data", str(tmp_path / "extra")],
        ["registry", str(shelf)],
        ["adapters", "--registry", str(shelf), "--out", str(tmp_path / "matrix")],
    )  # fmt: skip
    shutil.copytree(world / "data" / "sums", tmp_path / "extra" / "extra")
    assert [main(command) for command in commands] == [0] * len(commands)

    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    assert main(["eval", "--adapter", str(tmp_path / "adapter"), *base, "--tasks", "sums", *data]) == 2
    assert not trace.exists()


def test_a_base_of_pickled_weights_is_refused(world: Path, tmp_path: Path, portal: Portal) -> None:
    base, trace = Path(shutil.copytree(world / "qwen3", tmp_path / "base")), tmp_path / "trace"
    for weights in base.glob("*.safetensors"):
        weights.unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(trace)))

    told = portal.refusal("eval --tasks sums --base", base, "--data", world / "data")

    assert "no safetensors weights in this folder" in told
    assert not trace.exists()
