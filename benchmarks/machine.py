"""The machine of a benchmark: processor, cores, memory, versions."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from portal.device import usable_cores

PACKAGES = ("torch", "transformers", "peft", "portallib", "lm_eval")


def describe_machine() -> dict[str, str]:
    """Facts by name, for the table's caption."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(usable_cores()),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
