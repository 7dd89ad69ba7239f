"""The command measures shapes in processes of their own and writes its tables into a page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import main
from benchmarks.table import BEGIN, END
from tests.support.markdown import ROOT


def test_a_shape_that_is_not_known_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "mini-qwen3-xs", "qwen3-8c", "--out", str(out)])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert capsys.readouterr().err.endswith("error: no base whose sizes are known: 'qwen3-8c'\n")
    assert not out.exists()


@pytest.mark.nightly
def test_a_shape_is_measured_beside_peers_and_shown_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")

    arguments = ["mini-qwen3-xs", "--out", str(tmp_path / "out"), "--document", str(page)]
    subprocess.run([sys.executable, "-m", "benchmarks.gpu", *arguments], cwd=ROOT, check=True)

    record = json.loads((tmp_path / "out" / "mini-qwen3-xs.json").read_text())
    measured = {(point["adapted"], point["learners"]) for point in record["points"]}
    assert len(measured) == len(record["points"]) == 4  # q and v, all modules; one learner, three
    assert all(point["step_s"] > 0 and point["predicted_s"] > 0 for point in record["points"])
    peers = {line["against"].partition(",")[0] for line in record["comparisons"]}
    assert peers == {"peft", "portallib"}
    shown = page.read_text()
    assert shown.startswith("# Page\n")
    assert shown.endswith("\n\nThe end.\n")
    assert "old" not in shown
    assert shown.count("| mini-qwen3-xs |") >= 4
