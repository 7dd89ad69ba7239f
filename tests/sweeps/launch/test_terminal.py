"""A stage's line says how far its runs are; a driver stops on the signals that ask it to."""

import io
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.launch.terminal import ProgressLine, StageState, termination_interrupts
from sweeps.store.lease import read_holder
from sweeps.store.run_store import RunStore
from sweeps.store.session import Session
from tests.support.studies import COMMAND, PATIENCE_S, TINY, load_text, wait_for


@pytest.mark.parametrize(
    ("changes", "eta_s", "text"),
    [
        ({}, 65.0, "1/4 runs  37 %  2.0 steps/s  loss 0.500  ETA 1:05"),
        ({"total": 1, "done": 0, "share": 0.999, "loss": None}, None, "0/1 runs  99 %  2.0 steps/s"),
        ({"done": 0, "share": 0.0, "steps_per_s": 0.0, "loss": None}, None, "0/4 runs"),
        ({"done": 4, "share": 1.0, "steps_per_s": 0.0, "loss": None}, 9.0, "4/4 runs"),
    ],
)
def test_a_line_has_runs_share_speed_loss_and_what_is_left(
    changes: dict[str, Any], eta_s: float | None, text: str
) -> None:
    state = StageState(stage=1, done=1, total=4, share=0.379, steps_per_s=2.04, loss=0.5, active=True)

    assert replace(state, **changes).text(eta_s) == text


def test_a_stage_is_named_as_soon_as_a_lane_begins_with_it_and_then_only_now_and_then(tmp_path: Path) -> None:
    runs = load_text(tmp_path, TINY).runs
    session, out = Session(tmp_path, "1" * 16), io.StringIO()
    begun = {"stage": 2, "runs": {}, "steps_per_s": 0.0, "loss": None}
    costs = {run.key: 1.0 for run in runs}
    ports = len([run for run in runs if run.method == "portal"])

    with ProgressLine(runs, costs, RunStore(tmp_path), Console(file=out), names={2: "teach"}):
        session.write_progress(0, begun)
        wait_for(out.getvalue, "a line of the stage", patience_s=30.0)
        session.write_progress(0, begun | {"steps_per_s": 2.0})

    assert out.getvalue().splitlines() == [f"teach: 0/{ports} runs", f"teach: 0/{ports} runs  2.0 steps/s"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_ignored_interrupts_inside_the_block_only(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), termination_interrupts():
            signal.raise_signal(number)
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_another_thread_leaves_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look() -> None:
        with termination_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert seen == [before]


@pytest.mark.slow
def test_a_driver_in_the_background_of_a_script_stops_on_sigint(study_path: Path, tmp_path: Path) -> None:
    study, out = study_path, tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "sweep", "run", str(study), "--out", str(out), "--executor", "local"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does after `&`
    )
    wait_for(lambda: list(out.glob("packs/*/pack.json")) or driver.poll() is not None, "a recorded pack")

    driver.send_signal(signal.SIGINT)
    _, printed = driver.communicate(timeout=PATIENCE_S)

    assert driver.returncode == 130, printed
    assert printed.splitlines()[-1] == "portal: interrupted; the same command continues where it stopped"
    assert read_holder(out) == {}
