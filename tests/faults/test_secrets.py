"""Tokens in the environment and addresses of alerts: nothing that a launch or a report leaves has them."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from portal.cli import main
from sweeps.sinks import alerts
from tests.support.command_line import write_study

SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN")
HIDDEN = "not-to-be-kept"


def text_of(path: Path) -> str:
    """What the file says, also where it is compressed."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return f"{table.schema.metadata} {table.to_pylist()}"
    return path.read_bytes().decode(errors="replace")


@pytest.mark.slow
def test_tokens_and_addresses_of_alerts_are_not_kept(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(alerts, "PAUSE_S", 0.01)
    for name in SECRETS:
        monkeypatch.setenv(name, f"{HIDDEN}-{name}")
    study, out = write_study(world, tmp_path), tmp_path / "out"
    run = ["sweep", "run", study, "--executor", "local", "--out", str(out), "--tracker", "tensorboard"]

    assert main([*run, "--alert", f"http://127.0.0.1:1/{HIDDEN}"]) == 0
    assert main(["report", str(out)]) == 0

    files = [path for path in out.rglob("*") if path.is_file()]
    assert {".parquet", ".json", ".html", ".log"} <= {path.suffix for path in files}
    assert any("tiny-qwen3" in text_of(path) for path in files if path.suffix == ".parquet")
    assert [path for path in files if HIDDEN in text_of(path)] == []
    printed = capsys.readouterr()
    assert "alert not delivered" in printed.err
    assert HIDDEN not in printed.out + printed.err
