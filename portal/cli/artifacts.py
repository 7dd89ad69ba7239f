"""Which artifact a command means: a folder, the output of train, port or teach, or a hub id."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.output import warn

if TYPE_CHECKING:
    from portal.artifacts.artifact import Artifact
    from portal.artifacts.registry import Member, Registry

LatentsOption = Annotated[
    str | None,
    typer.Option(
        "--latents",
        metavar="ARTIFACT",
        help="Artifact of the same core, for one base or another: its tasks join those of ARTIFACT.",
    ),
]


def list_artifacts(location: str) -> dict[str, str]:
    """Artifact folders by name: `location` itself, or those in the output of `portal train` or `portal port`.

    Joint training leaves one for each source base; they share latents and core.
    """
    from portal.artifacts.artifact_files import CONFIG
    from portal.storage.records import enclosing_run

    folder, nested = Path(location), Path(location) / "artifact"
    if not folder.is_dir() or (folder / CONFIG).is_file():
        return {folder.name: location}
    if (nested / CONFIG).is_file():
        return {nested.name: str(nested)}
    is_of_a_run = not nested.is_dir() and enclosing_run(folder / CONFIG) is not None
    places = sorted((folder if is_of_a_run else nested).glob(f"*/{CONFIG}"))
    found = {path.parent.name: str(path.parent) for path in places}
    return found or {folder.name: location}


def find_artifact(location: str, *, base: str | None = None) -> str:
    """The one artifact of `list_artifacts`, or the one of `base`; ValueError when the choice is open."""
    from portal.learners.hypernet import artifact_subfolder

    found = list_artifacts(location)
    if base is not None and artifact_subfolder(base) in found:
        return found[artifact_subfolder(base)]
    if len(found) > 1:
        first = next(iter(found.values()))
        if base is not None:
            raise ValueError(
                f"{location}: holds artifacts of {', '.join(found)}, none of {base}; `portal port {first} "
                f"--to {base} --out DIR` makes one"
            )
        raise ValueError(f"{location}: holds artifacts of {', '.join(found)}; name one of them: {first}")
    return next(iter(found.values()))


def register(registry: "Registry", location: str) -> "list[Member]":
    """Add artifacts, each with the scores of its run if it lies in one: those that `location` means.

    The output of a study means the artifacts of all of its finished runs.
    """
    from sweeps.results.run_artifacts import artifact_scores, run_artifacts

    folder = Path(location)
    if (folder / "runs").is_dir() and not (folder / "artifact").exists():
        found = list(map(str, run_artifacts(folder)))
        if not found:
            raise ValueError(f"{location}: none of its runs has left a portable artifact yet")
    else:
        found = list(list_artifacts(location).values())
    return [
        registry.add(place, artifact_scores(Path(place)) if Path(place).is_dir() else None) for place in found
    ]


def load_with_latents(folder: str, latents: str | None) -> "Artifact":
    """The artifact in `folder`, with the tasks of the one at `latents` where that is given."""
    from portal.artifacts.artifact import Artifact

    loaded = Artifact.load(folder)
    warn_of_unverified([loaded.folder])
    if latents is None:
        return loaded
    taught = Artifact.load(next(iter(list_artifacts(latents).values())))
    warn_of_unverified([taught.folder])
    return loaded.with_latents_of(taught)


def warn_of_unverified(folders: Iterable[Path]) -> None:
    """Say of which artifacts nothing tells whether they are as they were written."""
    from portal.artifacts.artifact_files import RECORD
    from portal.storage.records import enclosing_run

    for folder in folders:
        if not (folder / RECORD).is_file() and enclosing_run(folder) is None:
            warn(
                f"{folder}: no {RECORD}, so whether it was altered is not known; another program made it, an "
                "older version did, or it was copied in part"
            )
