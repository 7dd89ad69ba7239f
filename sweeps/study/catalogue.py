"""Shipped studies and searches by name, and the file that a name or path stands for."""

from pathlib import Path

from portal.messages import nearest

STUDIES = Path(__file__).parent / "shipped"
SEARCHES = Path(__file__).parents[1] / "search" / "shipped"


def shipped_studies() -> tuple[str, ...]:
    """Names of the studies that come with the package."""
    return _names(STUDIES)


def shipped_searches() -> tuple[str, ...]:
    """Names of the searches that come with the package."""
    return _names(SEARCHES)


def find_study(name: str) -> Path:
    """The file of the shipped study of that name, or at that path; ValueError when there is none."""
    return _find(name, STUDIES, "study")


def find_search(name: str) -> Path:
    """The file of the shipped search of that name, or at that path; ValueError when there is none."""
    return _find(name, SEARCHES, "search")


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _find(name: str, folder: Path, what: str) -> Path:
    known = _names(folder)
    if name in known:
        return folder / f"{name}.yaml"
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or "/" in name:
        raise ValueError(f"{name}: no such {what} file")
    raise ValueError(f"unknown {what} {name!r}{nearest(name, known)} (or the path of a YAML file)")
