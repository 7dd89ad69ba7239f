"""Completion of names in a shell: `one_of` and `some_of` lists of names, none of which loads torch."""

from collections.abc import Callable, Iterable

Names = Callable[[], Iterable[str]]


def one_of(names: Names) -> Callable[[str], list[str]]:
    """Completion of a single name."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def some_of(names: Names) -> Callable[[str], list[str]]:
    """Completion of the last name in `a,b,c`, by names that are not in the list yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last) and name not in given]

    return complete


def studies() -> Iterable[str]:
    """Shipped studies; paths are the shell's to complete."""
    from sweeps.study.catalogue import shipped_studies

    return shipped_studies()


def searches() -> Iterable[str]:
    """Shipped searches; paths are the shell's to complete."""
    from sweeps.study.catalogue import shipped_searches

    return shipped_searches()


def bases() -> Iterable[str]:
    """Short names of bases."""
    from portal.bases.registry import known_bases

    return known_bases()


def tasks() -> Iterable[str]:
    """Tasks and groups of tasks of the suites that have few enough to be named."""
    from portal.data.suites import NAMED_TASKS, names_in

    return [name for suite in NAMED_TASKS for name in names_in(suite)]


def suites() -> Iterable[str]:
    """Suites by name; folders are the shell's to complete."""
    from portal.data.suites import SUITES

    return SUITES


def splits() -> Iterable[str]:
    """Splits of a task's rows."""
    from portal.tasks.example import SPLITS

    return SPLITS


def modules() -> Iterable[str]:
    """Projections that can be adapted."""
    from portal.modules import MODULES

    return ("all", *MODULES)


def latent_starts() -> Iterable[str]:
    """Where a taught latent can start."""
    from portal.train_config import LATENT_STARTS

    return LATENT_STARTS


def precisions() -> Iterable[str]:
    """Precisions of a frozen base."""
    from portal.config import PRECISIONS

    return PRECISIONS


def activations() -> Iterable[str]:
    """What a base does with its activations in training."""
    from portal.config import ACTIVATIONS

    return ACTIVATIONS


def recipes() -> Iterable[str]:
    """Recipes of training settings."""
    from portal.recipes import RECIPES

    return RECIPES


def devices() -> Iterable[str]:
    """Devices of torch; whether this machine has them is not asked."""
    return ("cpu", "cuda")


def wanted_devices() -> Iterable[str]:
    """Kinds of device that a study can ask for."""
    from portal.config import DEVICES

    return DEVICES


def planned_devices() -> Iterable[str]:
    """Devices that a plan can predict for; their table itself loads torch."""
    return ("b200", "h200", "h100", "a100", "cpu")


def executors() -> Iterable[str]:
    """Executors of a study."""
    from sweeps.launch.executors import EXECUTORS

    return EXECUTORS


def trackers() -> Iterable[str]:
    """Experiment trackers."""
    from sweeps.tracking.trackers import TRACKERS

    return TRACKERS


def cluster_files() -> Iterable[str]:
    """Kinds of cluster files."""
    from cluster.render import KINDS

    return KINDS
