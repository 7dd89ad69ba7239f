"""Programs run apart: what they can do, what they cannot, and what is said where they may not run."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portal.evaluate import code_sandbox
from portal.evaluate.code_sandbox import ALLOWED, SandboxError, end_with, passes
from portal.evaluate.text_metrics import find_metric


@pytest.fixture
def listening() -> Iterator[int]:
    """A port of this machine that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        yield server.getsockname()[1]


PASSING = (
    "import math, json\nassert math.gcd(12, 18) == 6",
    "print('noise' * 10**6)",
    "if __name__ == '__main__':\n    open('own.txt', 'w').write('mine')",
    "import os\nassert os.environ.get('PORTAL_RUN_CODE') is None",
    "import os\nassert len([p for p in os.listdir('/proc') if p.isdigit()]) < 5",
    "import pickle\nclass C: pass\npickle.loads(pickle.dumps(C()))",
)
FAILING = (
    "assert 1 == 2",
    "1 / 0",
    "def f(:",
    "import sys\nsys.exit(0)\nassert False",
    "import os\nos._exit(0)",
    "x = bytearray(2 * 10**9)",
    "open('big', 'wb').write(bytes(10**8))",
    "open('/usr/mark', 'w')",
    "for place in range(8):\n    open(f'/tmp/{place}', 'wb').write(bytes(10**7))",
    "for place in range(8):\n    open(f'/dev/shm/{place}', 'wb').write(bytes(10**7))",
    "import os\nos.system('mount -o remount,rw /usr')\nopen('/usr/mark', 'w')",
    f"open({__file__!r})",
    "open('/etc/passwd')",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.fail()\n"
    "assert unittest.main(exit=False).result.wasSuccessful()",
)


@pytest.mark.usefixtures("allowed")
def test_the_seconds_of_a_program_are_those_that_it_computes_and_twelve_times_as_many_by_the_clock() -> None:
    assert not passes("while True:\n    pass", seconds=1)
    assert passes("import time\ntime.sleep(2)", seconds=1)
    assert not passes("import time\ntime.sleep(60)", seconds=1)


@pytest.mark.usefixtures("allowed")
def test_programs_that_nobody_waits_for_any_longer_are_ended() -> None:
    started = time.monotonic()
    event = threading.Event()
    with ThreadPoolExecutor(1, initializer=end_with, initargs=(event,)) as pool:
        running, waiting = (pool.submit(passes, f"import time\ntime.sleep({each})") for each in (100, 0))
        time.sleep(1)
        event.set()

        assert (running.result(), waiting.result()) == (False, False)
    assert time.monotonic() - started < 60
    assert passes("pass")


@pytest.mark.usefixtures("failing_bubblewrap")
def test_a_sandbox_that_fails_for_one_program_is_no_wrong_answer() -> None:
    with pytest.raises(SandboxError, match="the sandbox failed: bwrap: Resource temporarily unavailable"):
        passes("pass")


@pytest.mark.usefixtures("allowed")
def test_a_program_passes_where_it_comes_to_its_end_and_touches_nothing_of_the_machine(
    listening: int,
) -> None:
    connect = f"import socket\nsocket.create_connection(('127.0.0.1', {listening}), timeout=2)"
    assert Path(__file__).is_file()
    assert [program for program in PASSING if not passes(program)] == []
    assert [program for program in (*FAILING, connect) if passes(program)] == []
    with socket.create_connection(("127.0.0.1", listening), timeout=2):
        pass


@pytest.mark.usefixtures("allowed")
def test_pass_at_1_runs_the_tests_after_the_answer_or_around_it() -> None:
    measure = find_metric("pass_at_1")
    doubled = ["assert double(4) == 8"]
    for answer, tests, value in (
        ("def double(x):\n    return 2 * x", doubled, 1),
        ("def double(x):\n    return x", doubled, 0),
        (" def double(x):\n    return 2 * x", doubled, 1),  # the space of a prompt
        ("\n    return 2 * x", ["def double(x):{answer}\nassert double(4) == 8"], 1),
        ("return 2 * x", ["assert True"], 0),  # no program at all
        ("x = 1", ["assert x", "assert x == 1"], 1),
        ("x = 1", ["assert x", "assert x == 2"], 0),  # all of them have to pass
    ):
        assert measure(answer, tests) == value


def test_without_the_flag_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)

    for ask in (lambda: passes("pass"), lambda: find_metric("pass_at_1")):
        with pytest.raises(ValueError, match="set PORTAL_RUN_CODE=1 to let it"):
            ask()


def test_a_bubblewrap_that_is_missing_or_not_let_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ALLOWED, "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    code_sandbox._check_bubblewrap.cache_clear()
    with pytest.raises(ValueError, match="needs bubblewrap"):
        find_metric("pass_at_1")

    said = "No permissions to create new namespace"
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\necho 'bwrap: {said}' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ValueError, match=f"does not work on this machine: bwrap: {said}"):
        find_metric("pass_at_1")
