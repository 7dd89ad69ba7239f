"""`passes`: whether a Python program ends well, run by bubblewrap apart from the machine that it runs on.

The program sees the folders of the system's and of Python's own programs and libraries, which it cannot write
to, and an empty folder: no network, no other files, no other processes, no variables. The time and the memory
of each of its processes and its files are limited. It guards against what a model writes by accident; an
attack on the kernel is not what it is made for.
"""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

ALLOWED = "PORTAL_RUN_CODE"
"""The variable that lets programs run which a model has written: 1."""
_SECONDS, _MEMORY_BYTES, _FILE_BYTES, _FOLDER_BYTES, _PROCESSES = 10, 1 << 30, 1 << 24, 1 << 26, 64
_PATIENCE = 12
"""Of the seconds that a program may compute so many times may pass: others may use the machine, too."""
_POLL_S = 0.25
_thread = threading.local()
_PLACES = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")
_START = f"""
import os, resource, sys, types
limits = {{"AS": {_MEMORY_BYTES}, "FSIZE": {_FILE_BYTES}, "NPROC": {_PROCESSES}, "CORE": 0}}
for name, most in (limits | {{"CPU": int(sys.argv[1])}}).items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
del sys.argv[1:]
token, program = sys.stdin.readline(), sys.stdin.read()
out, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(nothing, descriptor)
sys.modules["__main__"] = types.ModuleType("__main__")
exec(compile(program, "program", "exec"), sys.modules["__main__"].__dict__)
os.write(out, token.encode())
"""


class SandboxError(RuntimeError):
    """The sandbox, and not the program, has failed: nothing is known of the program."""


def passes(program: str, *, seconds: int = _SECONDS) -> bool:
    """Whether the program ends by itself within `seconds` of a CPU, without an exception, and by no exit.

    Twelve times as many seconds may pass.
    ValueError where such programs are not allowed, or bubblewrap does not work; SandboxError where it fails
    for this one.
    """
    check_sandbox()
    if _is_ended():
        return False
    ended = _run(program, seconds)
    if ended.stderr:  # not the program's, which goes nowhere
        said = ended.stderr.decode(errors="replace").splitlines()[-1]
        raise SandboxError(f"the sandbox failed: {said}")
    return ended.returncode == 0


def check_sandbox() -> None:
    """ValueError unless programs are allowed to run and bubblewrap works here."""
    if os.environ.get(ALLOWED) != "1":
        raise ValueError(
            f"this metric runs programs that a model has written; set {ALLOWED}=1 to let it, in bubblewrap"
        )
    _check_bubblewrap()


@cache
def _check_bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        raise ValueError("this metric needs bubblewrap (the program bwrap), which is not installed here")
    tried = _run("pass", _SECONDS)
    if tried.returncode != 0 or tried.stderr:
        said = tried.stderr.decode(errors="replace").strip() or "no reason given"
        raise ValueError(f"bubblewrap does not work on this machine: {said.splitlines()[-1]}")


def _run(program: str, seconds: int) -> "subprocess.CompletedProcess[bytes]":
    """The ended process; its code is 0 only for a program that came to its end."""
    token, home = secrets.token_hex(16), Path(sys.base_prefix).resolve()
    python = home / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    seen = dict.fromkeys((*_PLACES, str(home)))
    binds = [word for place in seen for word in ("--ro-bind-try", place, place)]
    apart = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    size = ["--size", str(_FOLDER_BYTES)]
    folders = ["--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp"]
    placed = [*folders, *binds]  # Python itself may lie below /tmp
    started = [str(python), "-I", "-S", "-c", _START, str(seconds)]
    command = ["bwrap", *placed, "--chdir", "/tmp", *apart, *started]
    told: bytes | None = f"{token}\n{program}".encode()
    pipe = subprocess.PIPE
    latest = time.monotonic() + _PATIENCE * seconds
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            while True:
                try:
                    out, said = process.communicate(told, timeout=_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    told = None  # it was sent
                    if _is_ended() or time.monotonic() > latest:
                        return subprocess.CompletedProcess(command, 124, b"", b"")
        finally:
            process.kill()
    code = process.returncode if out.decode().strip() == token else process.returncode or 1
    return subprocess.CompletedProcess(command, code, out, said)


def end_with(event: threading.Event) -> None:
    """Programs that this thread runs end when the event is set, as if they had not passed."""
    _thread.event = event


def _is_ended() -> bool:
    event: threading.Event | None = getattr(_thread, "event", None)
    return event is not None and event.is_set()
