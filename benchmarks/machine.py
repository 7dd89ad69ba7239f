"""The machine of a benchmark: processor, cores, memory, versions."""

import os
import platform
from importlib.metadata import version

import torch

from portal.device import usable_cores
from sweeps.planning.devices import processor_name

PACKAGES = ("torch", "transformers", "peft", "portallib", "lm_eval")


def describe_machine() -> dict[str, str]:
    """Facts by name, for the table's caption."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = {}
    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        gpu["gpu"] = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    return {
        **gpu,
        "processor": processor_name(),
        "cores": str(usable_cores()),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
