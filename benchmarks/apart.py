"""`run_apart`: parts of a benchmark one after the other, each in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path


def run_apart(
    module: str, names: Iterable[str], out: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run `python -m MODULE NAME --here` for every name, with NAME.log in `out`.

    `environment` is what processes have beside what this one has, which goes first. SystemExit at the end
    where some have failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        started = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        command = [sys.executable, "-m", module, name, "--here", "--out", str(out)]
        with (out / f"{name}.log").open("w") as log:
            settled = {**(environment or {}), **os.environ}
            code = subprocess.run(command, stderr=log, env=settled, check=False).returncode
        if code:
            failed.append(name)
            print(f"failed; see {out / f'{name}.log'}", flush=True)
        else:
            print(f"{time.monotonic() - started:.0f} s", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
