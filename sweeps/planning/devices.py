"""`Device`: what a plan needs to know of a machine. `KnownCheck`: what `portal gpu-check` found on it.

Rates are data sheets', dense, without sparsity, where no gpu-check has measured them; those of a GPU that is
not in the table are measured.
"""

import math
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from portal.bases.precision import cpu_bf16_gain
from portal.config import Precision
from portal.device import ATTAINED, KNOWN_GPUS, GpuRates, known_model, measure_rates, rates_of, usable_cores
from portal.frozen import content_key
from portal.messages import counted, nearest
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import cache_folder
from portal.train_config import Fp32Products

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


MEMORY_SHARE = 0.9
"""Share of a device's memory that a plan gives away; the rest is for fragments, workspaces, the driver."""
_CPU_CORE_FLOPS = 2e11
"""In fp32; large products attain half of it, 1e11, on a virtual machine's core: 1.08e11 on an AMD EPYC, and
1.2e11 to 2.0e11 on an Intel Xeon.

The next lines were fitted, with rates of products as measured, to steps on that Xeon, which has AMX: on five
bases, 64 to 640 wide, the two largest in fp32 and in bf16, with q and v or all modules adapted. Steps on the
two are met within 13 %, on the others within 27 %, with other work on the machine; two processes beside each
other are as fast as one."""
_CPU_LAUNCH_S = 1.6e-5  # with what an operation on few values takes
_CPU_VALUE_S = 5.4e-9
"""Core-seconds per value that a forward keeps for its backward, in fp32 or bf16, for all but products of the
base's matrices: norms, activations, attention and adapters, forwards and backwards."""
_CPU_CORE_BYTES_PER_S = 8e9
"""Of one thread in AdamW's fused step of 30 million numbers, in softmaxes of many logits, and where few rows
meet a base's matrices."""
_CPU_PACE = 1.9
"""How many times as long as all these say studies took on machines that no check had measured, with other
work beside them: the geometric mean of twelve, which are from 1.1 to 2.8."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GIB = 2**30


@dataclass(frozen=True)
class Device:
    """Memory in bytes, peak rate in FLOP/s (bf16; fp32 on a CPU), seconds to launch one eager operation.

    `bytes_per_s` are read and written in memory; by default a guess, for GPUs that no table knows. So are
    `write_bytes_per_s`, to a disk, where gpu-check has not measured those to its own output folder.
    `value_s` are a step's seconds per value that a forward keeps for its backward, for all but products of
    the base's matrices. `bf16_flops` are a CPU's in bf16, where gpu-check has measured them on this machine;
    `fp32_share` and `tf32_share` are a GPU's rates in fp32 and TF32 over that in bf16, an H100's and an
    A100's where they were not measured.
    `pace` is how many times as long as all these say steps take, of this machine where gpu-check has measured
    it; `bf16_pace` is that of a CPU's bases in bf16, where it is another. Scoring has the same ones where no
    `scoring_pace` was measured. `checked` is the date of that check.
    ValueError for one without memory or rates, on which nothing would ever end.
    """

    name: str
    memory_bytes: float
    flops: float
    launch_s: float
    is_gpu: bool = True
    bytes_per_s: float = 1e12
    write_bytes_per_s: float = 1e9
    value_s: float = 0.0
    bf16_flops: float | None = None
    fp32_share: float = 1 / 15
    tf32_share: float = 1 / 2
    pace: float = 1.0
    bf16_pace: float | None = None
    scoring_pace: float | None = None
    bf16_scoring_pace: float | None = None
    checked: str | None = None
    num_gpus: int = 1
    """GPUs over which a base is divided, and which compute one after another; all else is of one of them."""

    def __post_init__(self) -> None:
        for field in ("memory_bytes", "flops", "launch_s", "bytes_per_s", "write_bytes_per_s"):
            if not 0 < getattr(self, field) < math.inf:
                raise ValueError(f"device {self.name}: {field} is {getattr(self, field)}; it must be above 0")

    @property
    def budget_bytes(self) -> float:
        return MEMORY_SHARE * self.memory_bytes

    def rate(self, precision: Precision) -> float:
        """Peak FLOP/s on a base in this precision; what bf16 gains on a CPU is measured on this machine's."""
        if precision != "bf16" or self.is_gpu:
            return self.flops
        return self.flops * cpu_bf16_gain() if self.bf16_flops is None else self.bf16_flops

    def pace_in(self, precision: Precision) -> float:
        """How many times as long as predicted a step on a base in this precision takes."""
        return self.pace if precision != "bf16" or self.bf16_pace is None else self.bf16_pace

    def scoring_pace_in(self, precision: Precision) -> float:
        """The pace of scoring on bases in this precision."""
        is_usual = precision != "bf16" or self.bf16_pace is None
        measured = self.scoring_pace if is_usual else self.bf16_scoring_pace
        return self.pace_in(precision) if measured is None else measured

    def hypernet_rate(self, products: Fp32Products) -> float:
        """Peak FLOP/s at which the hypernetwork generates factors, which it does in fp32 or TF32."""
        if not self.is_gpu:
            return self.flops
        return self.flops * (self.fp32_share if products == "fp32" else self.tf32_share)

    @property
    def uncertainty(self) -> tuple[float, float]:
        """What a prediction is to be multiplied with for the least and the most that is to be expected."""
        if self.checked is not None:
            return 0.8, 1.25
        return (0.7, 2.0) if self.is_gpu else (0.7, 1.5)

    @property
    def label(self) -> str:
        """What a worker has: `B200`, `4 x B200`."""
        return self.name if self.num_gpus == 1 else f"{self.num_gpus} x {self.name}"

    def for_worker(self, gpus: float) -> "Device":
        """What a worker has with so many GPUs, or with its share of one, in memory and rate.

        A CPU is returned as it is.
        """
        if gpus == 1.0 or not self.is_gpu:
            return self
        if gpus > 1:
            return replace(self, num_gpus=int(gpus))
        return replace(
            self,
            name=f"{gpus:g} of a {self.name}",
            memory_bytes=gpus * self.memory_bytes,
            bytes_per_s=gpus * self.bytes_per_s,
            flops=gpus * self.flops,
        )

    def shared_by(self, count: int, *, slots: int | None = None) -> "Device":
        """What each of `count` processes has of a CPU; a GPU is returned as it is.

        They divide its memory. Its rates are divided by as many `slots` as there is room for processes, by
        default no more than there are: each computes on its own core, and on no other.
        """
        if self.is_gpu:
            return self
        share = count if slots is None else slots
        return replace(
            self,
            name=self.name if share == 1 else f"1/{share} of {self.name}",
            memory_bytes=self.memory_bytes / count,
            flops=self.flops / share,
            bf16_flops=None if self.bf16_flops is None else self.bf16_flops / share,
            bytes_per_s=self.bytes_per_s / share,
            launch_s=share * self.launch_s,
            value_s=share * self.value_s,
        )


_GPU_GIB = {"B200": 180, "H200": 141, "H100": 80, "A100": 80}
_GPU_BYTES_PER_S = {"B200": 8e12, "H200": 4.8e12, "H100": 3.35e12, "A100": 2e12}
GPUS = {
    name.lower(): Device(
        name, _GPU_GIB[name] * _GIB, rates.flops, rates.launch_s, bytes_per_s=_GPU_BYTES_PER_S[name]
    )
    for name, rates in KNOWN_GPUS.items()
}


def find_device(name: str | None) -> Device:
    """The named device, or the one this process would train on; ValueError for one that is not known.

    A GPU of the table has the rates and the pace of the newest check of such a GPU that has passed and is
    known here.
    """
    if name is None:
        return local_hardware()
    if name.lower() == "cpu":
        return _own_cpu()
    if name.lower() not in GPUS:
        raise ValueError(f"unknown device {name!r}{nearest(name.lower(), [*GPUS, 'cpu'])}")
    return _as_checked_gpu(GPUS[name.lower()])


@dataclass(frozen=True)
class FoundGpu:
    """A GPU as torch finds it on its machine: its full name, its memory in bytes and its rates."""

    name: str
    memory_bytes: float
    rates: GpuRates

    @classmethod
    def of(cls, gpu: torch.device) -> "FoundGpu":
        """Rates that no table knows are measured, which leaves this process with a context on the GPU."""
        found = torch.cuda.get_device_properties(gpu)
        return cls(found.name, found.total_memory, rates_of(found.name, lambda: measure_rates(gpu)))


def find_gpu() -> FoundGpu | None:
    """This machine's GPU with the least memory; None where torch finds none."""
    if not torch.cuda.is_available():
        return None
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return FoundGpu.of(min(gpus, key=lambda gpu: torch.cuda.get_device_properties(gpu).total_memory))


def smallest_gpu(found: Iterable[FoundGpu | None]) -> Device | None:
    """The one with the least memory of what `find_gpu` found on several machines, with its real memory; None
    where a machine's is not known.

    Its rates and pace are those that gpu-check has measured of such a GPU, if it has.
    """
    gpus = [*found]
    known = [gpu for gpu in gpus if gpu is not None]
    if not known or len(known) < len(gpus):
        return None
    return _checked_gpu(min(known, key=lambda gpu: (gpu.memory_bytes, gpu.name)))


def _checked_gpu(found: FoundGpu) -> Device:
    return _as_checked_gpu(describe_gpu(found))


def _as_checked_gpu(gpu: Device) -> Device:
    """With the newest check of such GPUs that has passed."""
    passed = [each for each in checks_of(gpu.name) if each.passed]
    return as_checked(gpu, max(passed, key=lambda each: each.date, default=None))


def local_hardware() -> Device:
    """The device that this process trains on, with its real memory.

    Its rates and pace are those that gpu-check has measured, else those of the table; others are measured.
    """
    return _checked_gpu(FoundGpu.of(torch.device("cuda", 0))) if torch.cuda.is_available() else _own_cpu()


def as_checked(device: Device, check: KnownCheck | None) -> Device:
    """The device with the rates and the pace that a check has measured, as far as it has."""
    if check is None or not check.passed:
        return device
    if not device.is_gpu:
        return _as_checked_cpu(device, check)
    flops = device.flops if check.flops is None else check.flops / ATTAINED
    launch_s = device.launch_s if check.launch_s is None else check.launch_s
    bytes_per_s = device.bytes_per_s if check.bytes_per_s is None else check.bytes_per_s
    rated = replace(
        device,
        flops=flops,
        launch_s=launch_s,
        bytes_per_s=bytes_per_s,
        write_bytes_per_s=check.write_bytes_per_s or device.write_bytes_per_s,
        fp32_share=_share(check.fp32_flops, check.flops, device.fp32_share),
        tf32_share=_share(check.tf32_flops, check.flops, device.tf32_share),
    )
    if check.pace is None:
        return rated
    return replace(rated, pace=check.pace, scoring_pace=check.scoring_pace, checked=check.day)


def _share(measured: float | None, bf16_flops: float | None, otherwise: float) -> float:
    """A measured rate over that in bf16, where both were measured."""
    return otherwise if measured is None or bf16_flops is None else measured / bf16_flops


def _as_checked_cpu(cpu: Device, check: KnownCheck) -> Device:
    """A plain CPU with measured rates for each of its cores; as it is where they or the pace were not.

    A launch has a lane on each core: what they take from each other is part of the pace.
    """
    if check.flops is None or check.pace is None:
        return cpu
    cores = cpu.flops / _CPU_CORE_FLOPS
    beside, bf16_beside = _beside(check.beside, cores), _beside(check.bf16_beside, cores)
    return replace(
        cpu,
        flops=cores * check.flops / ATTAINED,
        write_bytes_per_s=check.write_bytes_per_s or cpu.write_bytes_per_s,
        bf16_flops=None if check.bf16_flops is None else cores * check.bf16_flops / ATTAINED,
        pace=check.pace * beside,
        bf16_pace=None if check.bf16_pace is None else check.bf16_pace * bf16_beside,
        scoring_pace=None if check.scoring_pace is None else check.scoring_pace * beside,
        bf16_scoring_pace=None if check.bf16_scoring_pace is None else check.bf16_scoring_pace * bf16_beside,
        checked=check.day,
    )


def _beside(measured: float | None, cores: float) -> float:
    """How many times as long a step takes beside others; none is faster for them."""
    return 1.0 if measured is None or cores < 2 else max(1.0, measured)


def describe_gpu(found: FoundGpu) -> Device:
    """A GPU for plans, without what a check of it has measured."""
    model = known_model(found.name)
    bytes_per_s = Device.bytes_per_s if model is None else GPUS[model.lower()].bytes_per_s
    return Device(
        found.name, found.memory_bytes, found.rates.flops, found.rates.launch_s, bytes_per_s=bytes_per_s
    )


def plain_cpu(cores: int) -> Device:
    """A CPU of so many cores of this machine, as fast as those of other machines; no check is read."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    if limit != "max":  # a container's
        memory = min(memory, int(limit))
    name = f"this CPU ({counted(cores, 'core')})"
    return Device(
        name,
        memory,
        cores * _CPU_CORE_FLOPS,
        launch_s=_CPU_LAUNCH_S / cores,
        is_gpu=False,
        bytes_per_s=cores * _CPU_CORE_BYTES_PER_S,
        value_s=_CPU_VALUE_S / cores,
        pace=_CPU_PACE,
    )


def _own_cpu() -> Device:
    return as_checked(plain_cpu(usable_cores()), find_check(processor_name()))
