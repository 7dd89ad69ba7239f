"""`KnownCheck`: what `portal gpu-check` found on a device, kept where this user's plans read it."""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from portal.device_rates import known_model
from portal.frozen import content_key
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import cache_folder

_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class KnownCheck:
    """The newest check of a device by its full name, with one release of torch.

    `pace` is how many times as long as predicted a step took, on a CPU with a base in fp32, `scoring_pace`
    that of scoring, and `beside` how many times as long as alone a step took beside another worker, or one on
    every GPU; those that begin with `bf16` are with a base in bf16. `flops` are those of large products as
    measured: a GPU's in bf16, one CPU thread's in fp32, whose rate in bf16 is `bf16_flops`. `launch_s`,
    `bytes_per_s`, read and written, and the rates of products in fp32 and TF32 are a GPU's;
    `write_bytes_per_s` are of files that are flushed to the disk. None is what the device does not have, and
    what could not be measured.
    """

    name: str
    torch: str
    date: str
    passed: bool
    pace: float | None = None
    flops: float | None = None
    launch_s: float | None = None
    bytes_per_s: float | None = None
    bf16_pace: float | None = None
    bf16_flops: float | None = None
    fp32_flops: float | None = None
    tf32_flops: float | None = None
    beside: float | None = None
    bf16_beside: float | None = None
    scoring_pace: float | None = None
    bf16_scoring_pace: float | None = None
    write_bytes_per_s: float | None = None

    @property
    def day(self) -> str:
        """The date without its time: `2026-12-01`."""
        return self.date[:10]

    def keep(self) -> None:
        """Write it down for this user's plans and launches."""
        write_json_atomic(_path(self.name), asdict(self))


_RECORD = TypeAdapter(KnownCheck)


def find_check(name: str) -> KnownCheck | None:
    """What is known of this device with the present torch; None where no check was made."""
    return _read(_path(name))


def checks_of(name: str | None) -> list[KnownCheck]:
    """What is known of GPUs with the present release of torch: of this full name, or else of the same model
    (`H100`); without a name of any.

    A release is the same for every CUDA, and for CPUs: a plan may be made where there is no GPU.
    """
    found = (_read(path) for path in sorted(_folder().glob("*.json")))
    known = [
        each
        for each in found
        if each and each.launch_s is not None and _release(each.torch) == _release(torch.__version__)
    ]
    if name is None:
        return known
    model = known_model(name)
    own = [each for each in known if each.name == name]
    return own or [each for each in known if model is not None and known_model(each.name) == model]


def check_advice(gpu: str | None) -> str | None:
    """What a launch on GPUs of this name says of their checks; None where one has passed.

    Without a name, as on a cluster whose GPUs are not known, any check will do.
    """
    found = checks_of(gpu)
    if any(each.passed for each in found):
        return None
    name = gpu or "such a GPU"
    how = "`portal gpu-check` on a node of it takes minutes"
    if found:
        return f"the gpu-check of {name} of {max(each.date for each in found)} has failed; {how}"
    return f"no gpu-check of {name} with torch {torch.__version__} is known here; {how}"


def processor_name() -> str:
    """This machine's processor, as Linux names it."""
    for line in _CPU_FACTS.read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _release(version: str) -> str:
    """`2.13.0` of `2.13.0+cu130`."""
    return version.partition("+")[0]


def _path(name: str) -> Path:
    return _folder() / f"{content_key(f'{name} with torch {torch.__version__}')}.json"


def _folder() -> Path:
    return cache_folder() / "gpu-checks"


def _read(path: Path) -> KnownCheck | None:
    """The record; None where there is none, or one that another version has written."""
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
