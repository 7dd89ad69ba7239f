"""`StudyInfo`: what the caller knows about a study that the result table does not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.stats.result_table import METHOD_LABELS, Cell, MethodKey

KNOWN_KEYS = ("facts", "failed", "missing", "notes", "workers", "device_share")
RUN_KEYS = ("run", "method", "label", "sources", "base", "modules", "rank", "size", "seed", "cause", "log")


@dataclass(frozen=True)
class AbsentRun:
    """A planned run without results; null where the caller did not say."""

    run: str | None = None
    method: str | None = None
    label: str | None = None
    sources: tuple[str, ...] | None = None
    base: str | None = None
    modules: str | None = None
    rank: int | None = None
    size: int | None = None
    seed: int | None = None
    cause: str | None = None
    log: str | None = None

    @property
    def variant(self) -> MethodKey:
        method = self.method or "run"
        return MethodKey(method, self.label or method, self.modules, self.rank, self.sources)

    def is_in(self, cell: Cell) -> bool:
        """Whether the run would be one of the cell's; a run without a label is known by method alone."""
        same = self.method == cell.method if self.label is None else self.variant == cell.variant
        return same and self.base == cell.base and self.size == cell.size

    def describe(self) -> str:
        """`PorTAL on mini-gemma3, size 250, seed 1`, with what is known."""
        label = (
            self.variant.label if self.label else METHOD_LABELS.get(self.method or "", self.method or "run")
        )
        text = f"{label} on {self.base}" if self.base else label
        if self.size is not None:
            text += f", size {self.size}"
        if self.seed is not None:
            text += f", seed {self.seed}"
        return f"{text} ({self.run})" if self.run else text


@dataclass(frozen=True)
class StudyInfo:
    """Facts to show (name -> text, a list or a mapping of texts), runs that failed or are missing, notes.

    `workers` are how many workers step a run together, by run key, where that is not one; each holds
    `device_share` of a GPU.
    """

    facts: Mapping[str, object]
    failed: tuple[AbsentRun, ...] = ()
    missing: tuple[AbsentRun, ...] = ()
    notes: tuple[str, ...] = ()
    workers: Mapping[str, int] = field(default_factory=dict)
    device_share: float = 1.0

    @property
    def absent(self) -> tuple[AbsentRun, ...]:
        """All runs without results."""
        return (*self.failed, *self.missing)

    @classmethod
    def from_dict(cls, info: Mapping[str, object]) -> "StudyInfo":
        """Reads KNOWN_KEYS; runs are dicts of RUN_KEYS. Raises ValueError for any other key or shape."""
        unknown = sorted(set(info) - set(KNOWN_KEYS))
        if unknown:
            raise ValueError(f"report info: unknown key {unknown[0]!r}; known: {', '.join(KNOWN_KEYS)}")
        facts = info.get("facts", {})
        if not isinstance(facts, Mapping):
            raise ValueError(f"report info: facts must be a mapping, got {type(facts).__name__}")
        notes = _items(info, "notes")
        workers, share = info.get("workers", {}), info.get("device_share", 1.0)
        if not isinstance(workers, Mapping):
            raise ValueError(f"report info: workers must be a mapping, got {type(workers).__name__}")
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise ValueError(f"report info: device_share must be a number in (0, 1], got {share!r}")
        return cls(
            facts=facts,
            failed=tuple(_absent_run(run) for run in _items(info, "failed")),
            missing=tuple(_absent_run(run) for run in _items(info, "missing")),
            notes=tuple(str(note) for note in notes),
            workers={str(run): int(number) for run, number in workers.items()},
            device_share=float(share),
        )


def _items(info: Mapping[str, object], key: str) -> Sequence[object]:
    value = info.get(key, ())
    if not isinstance(value, list | tuple):
        raise ValueError(f"report info: {key} must be a list, got {type(value).__name__}")
    return value


def _absent_run(run: object) -> AbsentRun:
    if not isinstance(run, Mapping):
        raise ValueError(f"report info: a run must be a mapping, got {type(run).__name__}")
    unknown = sorted(set(run) - set(RUN_KEYS))
    if unknown:
        raise ValueError(f"report info: unknown key {unknown[0]!r} of a run; known: {', '.join(RUN_KEYS)}")
    sources = run.get("sources")
    return AbsentRun(**{**run, "sources": None if sources is None else tuple(sources)})
