"""The `portal` command, in this process: what it prints, what it leaves, and how it refuses."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from portal.bases import KNOWN, KnownBase
from portal.cli import main
from portal.tasks.example import SPLITS
from sweeps.lease import acquire
from sweeps.local import run_local
from sweeps.store import Store
from sweeps.study import load_study
from tests.portal.tiny import TASKS, character_tokenizer, make_examples, make_model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with tasks, bases of three families, a source trained on two and its port to the third."""
    folder = tmp_path_factory.mktemp("world")
    for task in TASKS:
        (folder / "data" / task).mkdir(parents=True)
        for split in SPLITS:
            records = [
                {"id": e.id, "prompt": e.prompt, "choices": e.choices, "gold": e.gold, "cluster": e.cluster}
                for e in make_examples(task, split, 8)
            ]
            lines = "\n".join(json.dumps(record) for record in records)
            (folder / "data" / task / f"{split}.jsonl").write_text(lines)
    known = {}
    for family in ("qwen3", "llama", "gemma3"):
        make_model(family, hidden=24, layers=2, seed=0).save_pretrained(folder / family)
        character_tokenizer(bos=family == "gemma3").save_pretrained(folder / family)
        known[f"tiny-{family}"] = KnownBase(
            f"tiny-{family}", str(folder / family), None, "Apache-2.0", "test"
        )
    arguments = ["--data", str(folder / "data"), "--examples", "8", "--epochs", "1"]
    source = ["train", "--source", "tiny-qwen3,tiny-llama", "--out", str(folder / "source"), "--rank", "2"]
    ported = ["port", str(folder / "source"), "--to", "tiny-gemma3", "--out", str(folder / "ported")]
    with pytest.MonkeyPatch.context() as patch:
        for name, base in known.items():
            patch.setitem(KNOWN, name, base)
        assert main([*source, *arguments]) == 0
        assert main([*ported, *arguments, "--seed", "3"]) == 0
        yield folder


def test_params_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts["core"] == 17_483_776
    assert counts["converter"]["qwen3-8b"] == 13_632_640
    assert {name: round(count / 1e6, 2) for name, count in counts["converter"].items()} == {
        "qwen3-1.7b": 7.34,
        "qwen3-4b": 10.49,
        "qwen3-8b": 13.63,
        "gemma-3-4b": 8.39,
    }


def test_the_version_and_the_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert main(["--help"]) == 0
    assert main([]) == 0

    assert "sweep" in capsys.readouterr().out


def test_tasks_counts_the_rows_of_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--data", str(world / "data"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)["tasks"]
    assert counts == {task: {"train": 8, "validation": 8, "test": 8} for task in TASKS}


def test_eval_prints_json_of_the_documented_shape(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = "tiny-gemma3"
    command = ["eval", "--base", base, "--data", str(world / "data"), "--json"]

    assert main([*command, "--limit", "5"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"base", "tasks", "macro"}
    assert printed["base"] == base
    assert set(printed["tasks"]) == set(TASKS)
    for scores in printed["tasks"].values():
        assert set(scores) == {"acc", "acc_norm", "log_loss", "num_examples"}
        assert scores["num_examples"] == 5
    mean = sum(scores["log_loss"] for scores in printed["tasks"].values()) / len(TASKS)
    assert printed["macro"]["log_loss"] == pytest.approx(mean)


def test_an_exported_adapter_scores_as_its_artifact_and_unlike_the_base(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, adapter = str(world / "ported"), str(tmp_path / "adapter")
    command = ["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--tasks", "sums"]

    assert main(["export", artifact, "--task", "sums", "--out", adapter, "--check"]) == 0
    capsys.readouterr()
    losses = []
    for extra in ([], ["--artifact", artifact], ["--adapter", adapter]):
        assert main([*command, *extra, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["tasks"]["sums"]["log_loss"])

    assert losses[1] == pytest.approx(losses[2], abs=1e-5)
    assert abs(losses[1] - losses[0]) > 1e-3


def test_a_finished_port_is_not_trained_again(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (marker,) = (world / "ported" / "runs").glob("*/DONE.json")
    before = marker.stat().st_mtime_ns
    command = ["port", str(world / "source"), "--to", "tiny-gemma3", "--out", str(world / "ported")]
    arguments = ["--data", str(world / "data"), "--examples", "8", "--epochs", "1", "--seed", "3"]

    assert main([*command, *arguments]) == 0

    assert marker.stat().st_mtime_ns == before
    assert "artifact" in capsys.readouterr().out


def test_status_of_a_study_that_never_ran_is_all_missing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _write_study(world, tmp_path)

    assert main(["sweep", "status", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts == {"total": 3, "done": 0, "running": 0, "failed": 0, "missing": 3}


def test_plan_prints_every_missing_run(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _write_study(world, tmp_path)

    assert main(["sweep", "plan", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["missing"] == 3


def test_a_finished_study_is_not_run_again_and_ends_in_tables_and_a_report(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = _write_study(world, tmp_path), tmp_path / "out"
    runs = load_study(study).runs
    for method in ("base", "lora"):
        run_local([run for run in runs if run.method == method], out, Console(quiet=True))

    assert main(["sweep", "run", study, "--out", str(out), "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert main(["report", str(out)]) == 0

    assert (ended["total"], ended["done"], ended["trained"]) == (3, 3, 0)
    assert pq.read_table(out / "results" / "results.parquet").num_rows > 0
    assert (out / "results" / "predictions.parquet").is_file()
    page = out / "report" / "index.html"
    assert str(page) in capsys.readouterr().out
    assert "PorTAL: small" in page.read_text()
    assert (out / "report" / "tables.md").is_file()


def test_runs_that_failed_are_listed_with_cause_and_log(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, out = _write_study(world, tmp_path), tmp_path / "out"
    store = Store(out)
    for run in load_study(study).runs:
        store.mark_failed(run.key, "the loss of task 'sums' is nan", store.log_path(0))

    code = main(["sweep", "run", study, "--out", str(out)])

    assert code == 3
    printed = capsys.readouterr().err
    assert "3 of 3 runs" in printed
    assert printed.count("the loss of task 'sums' is nan") == 3
    assert printed.count("lane-0.log") == 3


MISTAKES = {
    "command": (["swep"], "'swep'", "sweep"),
    "option": (["eval", "--bass", "x"], "--bass", "--base"),
    "base": (["eval", "--base", "mini-qwen4-m"], "'mini-qwen4-m'", "mini-qwen3-m"),
    "task": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--tasks", "summs"], "'summs'", "sums"),
    "split": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--split", "tset"], "'tset'", "test"),
    "limit": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--limit", "0"], "--limit 0", "1"),
    "device": (["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--device", "tpu"], "'tpu'", "cpu"),
    "suite": (["tasks", "--data", "minni"], "'minni'", "mini"),
    "module": (["params", "--modules", "q,gates"], "'gates'", "gate"),
    "rank": (["params", "--base", "tiny-qwen3", "--rank", "25"], "rank 25", "24"),
    "rank below 1": (["params", "--rank", "0"], "0", "1"),
    "size": (
        [
            "port",
            "{w}/source",
            "--to",
            "tiny-gemma3",
            "--out",
            "{t}/o",
            "--data",
            "{w}/data",
            "--examples",
            "0",
        ],
        "0",
        "1",
    ),
    "artifact task": (["export", "{w}/ported", "--task", "summs", "--out", "{t}/o"], "'summs'", "sums"),
    "artifact of which base": (
        ["export", "{w}/source", "--task", "sums", "--out", "{t}/o"],
        "tiny-llama",
        "name one",
    ),
    "artifact": (["export", "{t}/nothing", "--task", "sums", "--out", "{t}/o"], "nothing", "artifact"),
    "foreign artifact": (["export", "{w}/qwen3", "--task", "sums", "--out", "{t}/o"], "qwen3", "artifact"),
    "artifact of another base": (
        [
            "eval",
            "--base",
            "tiny-gemma3",
            "--data",
            "{w}/data",
            "--artifact",
            "{w}/source/artifact/tiny-qwen3",
        ],
        "gemma3",
        "portal port",
    ),
    "adapter": (
        ["eval", "--base", "tiny-qwen3", "--data", "{w}/data", "--adapter", "{t}"],
        "adapter_config.json",
        "portal export",
    ),
    "study": (["sweep", "plan", "demmo", "--out", "{t}/o"], "'demmo'", "demo"),
    "study file": (["sweep", "plan", "{t}/none.yaml", "--out", "{t}/o"], "none.yaml", "no such"),
    "report": (["report", "{t}"], "{t}", "collect"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_it_and_what_would_do(
    name: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, value, remedy = MISTAKES[name]

    code = main([part.format(w=world, t=tmp_path) for part in command])

    assert code == 2
    line = _only_line(capsys)
    assert value.format(t=tmp_path) in line
    assert remedy in line


@pytest.mark.parametrize(
    ("old", "new", "value", "remedy"),
    [
        ("seeds:", "seedz:", "seedz", "seeds"),
        ("  lora:", "  loar:", "loar", "lora"),
        ("size: 4", "size: 0", "0", "1"),
        ("tasks: [sums]", "tasks: [summs]", "summs", "sums"),
        ("rank: 2", "rank: 99", "rank 99", "24"),
        ("name: small", "name: [", "study.yaml", "line"),
    ],
)
def test_a_mistake_in_a_study_file_is_one_line(
    old: str,
    new: str,
    value: str,
    remedy: str,
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = Path(_write_study(world, tmp_path))
    assert old in study.read_text()
    study.write_text(study.read_text().replace(old, new))

    code = main(["sweep", "plan", str(study), "--out", str(tmp_path / "out")])

    assert code == 2
    line = _only_line(capsys)
    assert value in line
    assert remedy in line


@pytest.mark.parametrize("damage", ["truncated", "empty", "not safetensors"])
def test_damaged_weights_of_an_artifact_are_refused(
    damage: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "source" / "artifact" / "tiny-qwen3", tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes({"truncated": data[:-100], "empty": b"", "not safetensors": b"x" * 200}[damage])

    code = main(["export", str(tmp_path / "copy"), "--task", "sums", "--out", str(tmp_path / "out")])

    assert code == 2
    assert "model.safetensors" in _only_line(capsys)
    assert not (tmp_path / "out").exists()


def test_truncated_weights_of_a_base_are_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "qwen3", tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    code = main(["eval", "--base", str(tmp_path / "base"), "--data", str(world / "data")])

    assert code == 2
    assert str(tmp_path / "base") in _only_line(capsys)


def test_an_output_folder_that_cannot_be_made_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    out = str(tmp_path / "file" / "out")

    assert main(["export", str(world / "ported"), "--task", "sums", "--out", out]) == 2
    assert out in _only_line(capsys)
    assert main(["sweep", "run", _write_study(world, tmp_path), "--out", out]) == 2
    assert out in _only_line(capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_process_on_the_same_output_folder_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with acquire(out):
        code = main(["sweep", "run", _write_study(world, tmp_path), "--out", str(out)])

    assert code == 2
    line = _only_line(capsys)
    assert str(out) in line
    assert "in use by process" in line


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("portal.suites.load_suite", interrupt)

    assert main(["tasks"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "named"), [("r", 4, "rank 4"), ("peft_type", "IA3", "LoRA"), ("r", "x", "LoRA")]
)
def test_a_config_that_does_not_fit_its_adapter_is_refused(
    key: str, value: object, named: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    assert main(["export", str(world / "ported"), "--task", "sums", "--out", str(adapter)]) == 0
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    assert config[key] != value
    (adapter / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    capsys.readouterr()

    code = main(["eval", "--base", "tiny-gemma3", "--data", str(world / "data"), "--adapter", str(adapter)])

    assert code == 2
    assert named in _only_line(capsys)


def test_a_split_without_rows_is_refused_before_anything_is_trained(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "data", tmp_path / "data")
    (split,) = (tmp_path / "data" / "sums").glob("test.*")
    split.unlink()
    split.with_suffix(".jsonl").write_text("")
    command = [
        "train",
        "--source",
        "tiny-qwen3",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "o"),
    ]

    code = main(command)

    assert code == 2
    assert "test.jsonl: no rows" in _only_line(capsys)
    assert not (tmp_path / "o" / "runs").exists()


def _write_study(world: Path, folder: Path) -> str:
    """A study of three runs: the base and two seeds of a per-task LoRA."""
    path = folder / "study.yaml"
    path.write_text(
        "\n".join(
            [
                "name: small",
                f"suite: {world / 'data'}",
                "tasks: [sums]",
                "targets: [tiny-qwen3]",
                "seeds: [0, 1]",
                "methods:",
                "  base: {}",
                "  lora:",
                "    size: 4",
                "    adapter: {modules: [q], rank: 2, alpha: 4}",
                "    train: {epochs: 1}",
            ]
        )
    )
    return str(path)


def _only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing may have gone to stdout."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("portal: ")
    return lines[0]
