"""Cluster files from templates, for a user to read and edit: KubeRay, Slurm, SkyPilot, Ray's launcher."""

import importlib.metadata
import re
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent / "templates"
KINDS = {
    "rayjob": "rayjob.yaml",
    "raycluster": "raycluster.yaml",
    "slurm": "slurm.sh",
    "skypilot": "skypilot.yaml",
    "ray-launcher": "ray-launcher.yaml",
    "dockerfile": "Dockerfile",
}
"""What can be written, and the template it comes from."""
SHARED = "/shared"
"""Where the storage that all nodes share is mounted, in every container."""
_IN_CONTAINERS = ("rayjob", "skypilot")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*")


@dataclass(frozen=True)
class ClusterSettings:
    """What the templates leave open. Paths are those inside the containers or on the nodes."""

    study: str = "within-family"
    image: str = "portal:cuda"
    nodes: int = 2
    gpus: int = 8
    cpus: int = 96
    memory: str = "1000Gi"
    gpu_product: str = "NVIDIA-B200"
    accelerator: str = "B200"
    claim: str = "portal-shared"
    out: str = ""
    """Unset: a folder of the study in /shared/portal."""
    data: str = "/shared/data"

    @property
    def job(self) -> str:
        """The study's name in the letters of a Kubernetes name, short enough for a RayJob's."""
        return re.sub(r"[^a-z0-9]+", "-", self._stem.lower())[:40].strip("-") or "study"

    @property
    def _stem(self) -> str:
        """The study's name, or that of its file."""
        return re.sub(r"\.ya?ml$", "", self.study.rpartition("/")[2])

    @property
    def is_stored(self) -> bool:
        """Whether the study's output goes to an object store."""
        return "://" in self.out

    def __post_init__(self) -> None:
        if not self.out:
            object.__setattr__(self, "out", f"{SHARED}/portal/{self._stem}")
        self._check_letters()
        if not self.is_stored and not self.out.startswith("/"):
            raise ValueError(f"out {self.out}: name an absolute path on shared storage, or a URL")

    def _check_letters(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int):
                if value < 1:
                    raise ValueError(f"{field.name} {value}: at least 1")
            elif not (_SAFE.fullmatch(value) or (value.startswith("/") and _SAFE.fullmatch(value[1:]))):
                raise ValueError(f"{field.name} {value!r}: letters, digits and . _ / : @ + - only")


def render(kind: str, settings: ClusterSettings) -> str:
    """The file's text; ValueError for settings that cannot work in a file of this kind."""
    template = (TEMPLATES / KINDS[kind]).read_text()
    if kind == "dockerfile":
        return template
    if kind in _IN_CONTAINERS:
        _check_places(settings)
    values = {field.name: str(getattr(settings, field.name)) for field in fields(settings)}
    values["job"] = settings.job
    values["all_gpus"] = str(settings.nodes * settings.gpus)
    values["ray_version"] = importlib.metadata.version("ray")
    spec = Template((TEMPLATES / "cluster_spec.yaml").read_text()).substitute(values).rstrip()
    values["cluster_spec"] = textwrap.indent(spec, "  ")
    values["cluster_spec_in_job"] = textwrap.indent(spec, "    ")
    values["volumes"] = "" if settings.is_stored else f"volumes:\n  {SHARED}: {settings.claim}\n"
    has_data = not settings.is_stored or not settings.data.startswith(f"{SHARED}/")  # else nothing is mounted
    values["data_variable"] = f"  PORTAL_DATA: {settings.data}\n" if has_data else ""
    values["data_export"] = f"export PORTAL_DATA={settings.data}\n" if has_data else ""
    return Template(template).substitute(values)


def _check_places(settings: ClusterSettings) -> None:
    """ValueError for a path that would lie in a container, and be gone with it."""
    if not settings.is_stored and not settings.out.startswith(f"{SHARED}/"):
        raise ValueError(f"out {settings.out}: not below {SHARED}, where the claim is mounted, and no URL")
    if settings.study.endswith((".yaml", ".yml")) and not settings.study.startswith("/"):
        raise ValueError(
            f"study {settings.study}: name a study file by its absolute path in the container, as {SHARED}/"
            f"{settings.study}"
        )
