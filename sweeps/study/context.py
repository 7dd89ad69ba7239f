"""`StudyContext`: what a study file refers to, opened: its suite and tasks, their rows' hash, its bases."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from portal.bases.files import resolve
from portal.config import BaseRef, DataConfig, Precision, PrecisionChoice
from portal.data.suites import Suite, examples_hash, open_suite, outline_suite, with_task_files
from portal.storage.paths import Folder
from portal.tasks.records import RowsNotAtHandError
from portal.text.encoder import Encoder, find_encoder
from sweeps.store.output_folder import kept_precisions
from sweeps.store.run_store import RunStore
from sweeps.study.study_file import StudyFile, check_names, with_variants


@dataclass(frozen=True)
class StudyContext:
    """The suite, the tasks, the hash of all their examples, and each base and encoder pinned, by name.

    `own_tasks` are the study's, `named` those of methods that have others, by what the file calls them;
    `tasks` are all of these, the study's first. Opening reads every example. Studies that name the same
    suite, tasks and bases, as the trials of a search do, share one context.
    """

    suite: Suite
    own_tasks: tuple[str, ...]
    named: Mapping[tuple[str, ...], tuple[str, ...]]
    data_hash: str
    refs: Mapping[str, BaseRef]
    encoders: Mapping[str, Encoder]
    identity: tuple[object, ...]  # what the study file says of all that

    @classmethod
    def open(
        cls,
        settings: StudyFile,
        out: Folder | None = None,
        *,
        outline: bool = False,
        bf16_pays: bool | None = None,
    ) -> "StudyContext":
        """Read the suite's examples and the bases' digests; ValueError for what the study cannot have.

        In `out` the study ran before, or will run: the folder keeps what precision `auto` stands for. With
        `outline` rows of public benchmarks that are not at hand are taken to be as many as they are known to.
        `bf16_pays` says whether a CPU gains from bf16, for precision `auto`; None measures this machine's.
        """
        methods = with_variants(settings)
        check_names(methods)
        suite, own = open_suite(settings.suite, settings.tasks, data=settings.data)
        others, encoders = _named(methods)
        named = {}
        for names in others:
            suite, chosen = with_task_files(suite, names)
            named[names] = suite.choose(chosen)
        bases = dict.fromkeys((*settings.sources, *settings.targets))
        device = None if settings.device == "auto" else settings.device
        precisions = resolve_precisions(
            settings.precision, bases, device=device, out=out, bf16_pays=bf16_pays
        )
        refs = {name: resolve(name, precision=precisions[name]) for name in bases}
        tasks = _all_tasks(own, named)
        try:
            data_hash = examples_hash(suite, tasks)
        except RowsNotAtHandError:
            if not outline:
                raise
            suite = outline_suite(suite)
            data_hash = examples_hash(suite, tasks)
        found = {name: find_encoder(name) for name in encoders}
        return cls(suite, own, named, data_hash, refs, found, _identity(methods))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that any run of the study has."""
        return _all_tasks(self.own_tasks, self.named)

    def data(self, settings: StudyFile) -> DataConfig:
        """All rows that any run sees of the study, whose variants are written out."""
        assert self.identity == _identity(settings), "the context is another study's"
        return DataConfig(
            suite=self.suite.name,
            tasks=self.tasks,
            prompt_set=self.suite.prompt_set,
            files={task: self.suite.files[task] for task in self.tasks if task in self.suite.files},
            size=None,
            eval_size=settings.eval_size,
            max_prompt=settings.max_prompt,
            answers=self.suite.answers_of(self.tasks),
            data_hash=self.data_hash,
        )


def _all_tasks(own: tuple[str, ...], named: Mapping[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*own, *(task for tasks in named.values() for task in tasks))))


def _named(settings: StudyFile) -> tuple[dict[tuple[str, ...], None], dict[str, None]]:
    """What methods name in place of the study's tasks, and their encoders, each once."""
    methods = settings.methods.values()
    return (
        dict.fromkeys(method.tasks for method in methods if method.tasks is not None),
        dict.fromkeys(method.text.encoder for method in methods if method.text is not None),
    )


def _identity(settings: StudyFile) -> tuple[object, ...]:
    rows = (settings.suite, settings.tasks, settings.data, *(tuple(names) for names in _named(settings)))
    return *rows, settings.sources, settings.targets, settings.precision, settings.device


def resolve_precisions(
    choice: PrecisionChoice,
    bases: Collection[str],
    *,
    device: str | None = None,
    out: Folder | None = None,
    bf16_pays: bool | None = None,
) -> dict[str, Precision]:
    """The precision of each base. `auto` is what `out` keeps, or else what suits `device` of this machine.

    Without a device that is the GPU, where there is one. `bf16_pays` says whether a CPU gains from bf16; None
    measures that of this machine's. Where `out` keeps nothing yet and has runs on a base in one precision, as
    of a study that did not ask for `auto` before, the base stays in that.
    """
    if choice != "auto":
        return dict.fromkeys(bases, choice)
    kept = {} if out is None else kept_precisions(out) or _of_runs(out)
    found = {base: kept[base] for base in bases if base in kept}
    return found | {base: _resolve(base, device, bf16_pays) for base in bases if base not in kept}


def _of_runs(out: Folder) -> dict[str, Precision]:
    """The precision of each base on which all runs below `out` have it in one."""
    found: dict[str, set[Precision]] = defaultdict(set)
    for run in RunStore(out).begun():
        for ref in run.bases:
            found[ref.name].add(ref.precision)
    return {base: next(iter(own)) for base, own in found.items() if len(own) == 1}


def _resolve(base: str, device: str | None, bf16_pays: bool | None) -> Precision:
    import torch  # it takes seconds, which `sweep status` need not wait

    from portal.bases.family import outline_config
    from portal.bases.precision import resolve_precision

    here = device or ("cuda" if torch.cuda.is_available() else "cpu")
    width = outline_config(base).get_text_config().hidden_size
    return resolve_precision("auto", width, here, bf16_pays=bf16_pays)
