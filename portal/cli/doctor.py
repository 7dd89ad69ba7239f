"""`portal doctor`: what this machine offers, and what to do where something is missing."""

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from portal.cli.exit_codes import MISTAKE

Level = Literal["ok", "warn", "fail"]
_GIB = 2**30
_RAY_SERIES = "2.60."
_MIN_MEMORY_GIB = 4
_MIN_SHM_GIB = 1
_MIN_DISK_GIB = 2
_MIN_LOCKED_GIB = 1


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice` says what would do."""

    level: Level
    what: str
    advice: str = ""


def doctor() -> None:
    """Check this machine: versions, memory, disk, Ray's token, embedded bases.

    Exit code 2 when something would stop a study; each line that is not ok says what to do.
    """
    failed = False
    for check in _CHECKS:
        for finding in check():
            failed |= finding.level == "fail"
            advice = f": {finding.advice}" if finding.advice else ""
            typer.echo(f"{finding.level:<4}  {finding.what}{advice}")
    if failed:
        raise typer.Exit(MISTAKE)


def _check_versions() -> Iterator[Finding]:
    python = platform.python_version()
    yield Finding("ok", f"Python {python} on {platform.system()} {platform.machine()}")
    for package in ("torch", "ray", "transformers", "peft", "pyarrow"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fail", f"{package} is not installed", "make venv")
            continue
        if package == "ray" and not version.startswith(_RAY_SERIES):
            yield Finding("warn", f"ray {version}, tested with {_RAY_SERIES}x", "make venv")
        else:
            yield Finding("ok", f"{package} {version}")


def _check_machine() -> Iterator[Finding]:
    import torch

    from portal.device import unusable_gpus, usable_cores

    cores, available = usable_cores(), _available_memory_bytes() / _GIB
    yield _wanted(cores >= 2, f"{cores} CPU cores", "studies want two or more")
    memory = f"{available:.1f} GiB of memory available"
    yield _wanted(available >= _MIN_MEMORY_GIB, memory, f"the demo wants {_MIN_MEMORY_GIB} GiB")
    if unusable := unusable_gpus():
        yield Finding("fail", *unusable)
    elif not torch.cuda.is_available():
        yield Finding("ok", f"no GPU that torch can use; bases run on the CPU, in fp32{_bf16_offer()}")
    if torch.cuda.is_available():
        yield from gpu_findings(_gpu_facts())
        yield locked_memory(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])


@dataclass(frozen=True)
class GpuFacts:
    """What torch and the driver say of a machine's GPUs; `names` and `capabilities` are by index.

    `apart` are pairs of GPUs that cannot reach each other's memory; `links` are the kinds of connections
    between GPUs, as the driver's tool names them, and none where it does not say.
    """

    names: tuple[str, ...]
    memory_bytes: tuple[int, ...]
    capabilities: tuple[tuple[int, int], ...]
    torch_archs: tuple[str, ...]
    cuda: str
    driver: str | None
    cudnn: int | None
    nccl: tuple[int, ...] | None
    apart: tuple[tuple[int, int], ...]
    links: frozenset[str]


def _gpu_facts() -> GpuFacts:
    import torch

    from portal.device import ask_driver, driver_releases

    count, driver = torch.cuda.device_count(), next(iter(driver_releases()), None)
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    pairs = ((a, b) for a in range(count) for b in range(a + 1, count))
    return GpuFacts(
        names=tuple(each.name for each in properties),
        memory_bytes=tuple(each.total_memory for each in properties),
        capabilities=tuple((each.major, each.minor) for each in properties),
        torch_archs=tuple(torch.cuda.get_arch_list()),
        cuda=str(torch.version.cuda),
        driver=driver,
        cudnn=torch.backends.cudnn.version(),
        nccl=torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else None,
        apart=tuple(pair for pair in pairs if not torch.cuda.can_device_access_peer(*pair)),
        links=gpu_links(ask_driver("topo", "-m") or "", count) if driver and count > 1 else frozenset(),
    )


def gpu_links(topology: str, count: int) -> frozenset[str]:
    """The kinds of connections in a table of `nvidia-smi topo -m`: NV18 (NVLink), PIX, NODE, SYS.

    None of them where it has more or fewer GPUs than the `count` that torch sees: it does not say which.
    """
    rows = [re.sub(r"\x1b\[[\d;]*m", "", line).split() for line in topology.splitlines()]
    gpus = [row for row in rows if row and re.fullmatch(r"GPU\d+", row[0]) and "X" in row]
    if len(gpus) != count:
        return frozenset()
    return frozenset(cell for row in gpus for cell in row[1 : 1 + count]) - {"X"}


def gpu_findings(facts: GpuFacts) -> Iterator[Finding]:
    """Lines on GPUs, their driver, and the libraries that torch has for them."""
    for index, (name, size) in enumerate(zip(facts.names, facts.memory_bytes, strict=True)):
        yield Finding("ok", f"GPU {index}: {name}, {size / _GIB:.0f} GiB")
    driver = f"driver {facts.driver}" if facts.driver else "no nvidia-smi that answers"
    cudnn = f"cuDNN {facts.cudnn}" if facts.cudnn else "no cuDNN"
    yield Finding("ok", f"{driver}, CUDA {facts.cuda} of torch, {cudnn}")
    for major, minor in dict.fromkeys(facts.capabilities):
        arch = f"sm_{major}{minor}"
        has = any(runs_on(each, major, minor) for each in facts.torch_archs)
        advice = f"it has {', '.join(facts.torch_archs)}: install a torch that is built for {arch}"
        yield _wanted(has, f"torch has {'' if has else 'no '}kernels for {arch}", advice)
    if facts.nccl is None:
        yield Finding("warn", "torch has no NCCL", "a pack cannot have several workers on GPUs")
    else:
        yield Finding("ok", f"NCCL {'.'.join(map(str, facts.nccl))}")
    if facts.apart:
        named = ", ".join(f"{a} and {b}" for a, b in facts.apart)
        yield Finding("warn", f"GPUs {named} exchange data through the host", "their teams wait longer")
    elif len(facts.names) > 1:
        yield Finding("ok", f"every GPU reaches the others' memory{_by(facts.links)}")


def runs_on(arch: str, major: int, minor: int) -> bool:
    """Whether code for `arch` (`sm_86`, `sm_90a`) runs on a device of this compute capability.

    Such code runs on later minors of its major; with a letter at its end, on nothing but its own.
    """
    found = re.fullmatch(r"sm_(\d+)(\d)([a-z]?)", arch)
    if found is None:
        return False
    own_major, own_minor, letter = int(found[1]), int(found[2]), found[3]
    return own_major == major and (own_minor == minor if letter else own_minor <= minor)


def _by(links: frozenset[str]) -> str:
    """How GPUs are connected; nothing where the driver's tool does not say."""
    if not links:
        return ""
    fast = sorted(each for each in links if each.startswith("NV"))
    slow = sorted(links.difference(fast))
    kinds = [f"{name} ({', '.join(found)})" for name, found in (("NVLink", fast), ("PCIe", slow)) if found]
    return f", by {kinds[0]}" if len(kinds) == 1 else f", some by {kinds[0]}, some by {kinds[1]}"


def locked_memory(limit_bytes: int) -> Finding:
    """The line on the memory that Linux lets a process lock, which GPUs copy from and to."""
    if limit_bytes == resource.RLIM_INFINITY:
        return Finding("ok", "a process may lock any amount of memory")
    what = f"a process may lock {limit_bytes / _GIB:.2g} GiB of memory"
    advice = "GPUs want page-locked memory: raise memlock (ulimit -l)"
    return _wanted(limit_bytes >= _MIN_LOCKED_GIB * _GIB, what, advice)


def _bf16_offer() -> str:
    from portal.bases.precision import cpu_bf16_gain, cpu_has_bf16

    if not cpu_has_bf16():
        return ""
    rate = f"{cpu_bf16_gain():.1f} times the rate of fp32"
    return f", or in bf16 with --precision bf16, which this CPU multiplies at {rate}"


def _check_disk() -> Iterator[Finding]:
    folder = Path(tempfile.gettempdir())
    if not os.access(folder, os.W_OK):
        yield Finding("fail", f"{folder} cannot be written", "set TMPDIR to a folder you can write to")
        return
    free = shutil.disk_usage(folder).free / _GIB
    yield _wanted(free >= _MIN_DISK_GIB, f"{free:.1f} GiB free in {folder}", "Ray keeps its session there")
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield Finding(
            "warn", "no /dev/shm", "Ray falls back to a slower object store in the temporary folder"
        )
        return
    size = shutil.disk_usage(shared).total / _GIB
    advice = f"give the container {_MIN_SHM_GIB} GiB, for example docker run --shm-size={_MIN_SHM_GIB}g"
    yield _wanted(size >= _MIN_SHM_GIB, f"{size:.1f} GiB in /dev/shm", advice)


def _check_ray_token() -> Iterator[Finding]:
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode is not None:
        yield Finding("ok", f"RAY_AUTH_MODE={mode}")
    if not token.is_file():
        yield Finding("ok", "no Ray token file")
        return
    permissions = stat.S_IMODE(token.stat().st_mode)
    if permissions & 0o077:
        yield Finding("warn", f"others can read Ray's token ({permissions:o})", f"chmod 600 {token}")
    else:
        yield Finding("ok", "Ray's token is readable by you alone")


def _wanted(is_there: bool, what: str, advice: str) -> Finding:
    """A line on what is good to have: a warning, with the advice, where it is not there."""
    return Finding("ok", what) if is_there else Finding("warn", what, advice)


def _check_embedded_bases() -> Iterator[Finding]:
    from portal.bases.files import folder_digest
    from portal.bases.registry import known_bases

    for name, known in known_bases().items():
        if known.availability() == "embedded":
            try:
                digest = folder_digest(Path(known.location))
                yield Finding("ok", f"embedded base {name}, digest {digest[:12]}")
            except (ValueError, OSError) as error:
                yield Finding("fail", f"embedded base {name}: {error}", "install the package anew")


def _available_memory_bytes() -> int:
    """What Linux could give to a new process without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemAvailable: this is not a Linux kernel of the last ten years")


_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _check_versions,
    _check_machine,
    _check_disk,
    _check_ray_token,
    _check_embedded_bases,
)
