"""Shipped studies by name, and the file that a study's name or path stands for."""

from pathlib import Path

from portal.messages import nearest

STUDIES = Path(__file__).parent / "shipped"


def shipped_studies() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.yaml")))


def find_study(name: str) -> Path:
    """The file of the shipped study of that name, or at that path; ValueError when there is none."""
    if name in shipped_studies():
        return STUDIES / f"{name}.yaml"
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise ValueError(f"{name}: no such study file")
    raise ValueError(f"unknown study {name!r}{nearest(name, shipped_studies())} (or the path of a YAML file)")
