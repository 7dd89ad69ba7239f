"""A driver stops on the signals that ask it to, also where its shell had them ignored."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sweeps.launch.interrupts import termination_interrupts
from sweeps.store.lease import read_holder
from tests.support.studies import COMMAND, PATIENCE_S, TINY, wait_for


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
def test_a_driver_in_the_background_of_a_script_stops_on_sigint(tmp_path: Path) -> None:
    study, out = tmp_path / "tiny.yaml", tmp_path / "out"
    study.write_text(TINY)
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
