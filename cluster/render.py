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
    out: str = "/shared/portal"
    data: str = "/shared/data"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int):
                if value < 1:
                    raise ValueError(f"{field.name} {value}: at least 1")
            elif not (_SAFE.fullmatch(value) or (value.startswith("/") and _SAFE.fullmatch(value[1:]))):
                raise ValueError(f"{field.name} {value!r}: letters, digits and . _ / : @ + - only")


def render(kind: str, settings: ClusterSettings) -> str:
    """The file's text. A job's name is the study's, in the letters that Kubernetes takes."""
    values = {field.name: str(getattr(settings, field.name)) for field in fields(settings)}
    values["ray_version"] = importlib.metadata.version("ray")
    template = (TEMPLATES / KINDS[kind]).read_text()
    if kind == "dockerfile":
        return template
    spec = Template((TEMPLATES / "cluster_spec.yaml").read_text()).substitute(values).rstrip()
    values["cluster_spec"] = textwrap.indent(spec, "  ")
    values["cluster_spec_in_job"] = textwrap.indent(spec, "    ")
    return Template(template).substitute(values)
