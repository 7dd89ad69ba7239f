"""`passes`: whether a Python program ends well, run by bubblewrap apart from the machine that it runs on.

The program sees Python's standard library, an empty folder of its own, and nothing else: no network, no other
files, no other processes, no variables. Its time, memory and files are limited. It guards against what a
model writes by accident; an attack on the kernel is not what it is made for.
"""

import os
import secrets
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ALLOWED = "PORTAL_RUN_CODE"
"""The variable that lets programs run which a model has written: 1."""
_SECONDS, _MEMORY_BYTES, _FILE_BYTES, _PROCESSES = 10.0, 1 << 30, 1 << 24, 64
_PLACES = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")
_START = f"""
import os, resource, sys
for name, most in (("AS", {_MEMORY_BYTES}), ("FSIZE", {_FILE_BYTES}), ("NPROC", {_PROCESSES}), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
token, program = sys.stdin.readline(), sys.stdin.read()
out, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(nothing, descriptor)
exec(compile(program, "program", "exec"), {{"__name__": "__main__"}})
os.write(out, token.encode())
"""


def passes(program: str, *, seconds: float = _SECONDS) -> bool:
    """Whether the program runs to its end within `seconds`, without an exception or an exit of its own.

    ValueError where such programs are not allowed, or bubblewrap does not work.
    """
    check_sandbox()
    return _run(program, seconds).returncode == 0


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
    if tried.returncode != 0:
        said = tried.stderr.decode(errors="replace").strip() or "no reason given"
        raise ValueError(f"bubblewrap does not work on this machine: {said.splitlines()[-1]}")


def _run(program: str, seconds: float) -> "subprocess.CompletedProcess[bytes]":
    """The ended process; its code is 0 only for a program that came to its end."""
    python, token = Path(sys.executable).resolve(), secrets.token_hex(16)
    seen = dict.fromkeys((*_PLACES, sys.base_prefix))
    binds = [word for place in seen for word in ("--ro-bind-try", place, place)]
    apart = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    folders = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    command = ["bwrap", *binds, *folders, *apart, str(python), "-I", "-S", "-c", _START]
    try:
        ended = subprocess.run(
            command, input=f"{token}\n{program}".encode(), capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", b"out of time")
    code = ended.returncode if ended.stdout.decode().strip() == token else ended.returncode or 1
    return subprocess.CompletedProcess(command, code, ended.stdout, ended.stderr)
