"""`StudyContext`: what a study file refers to, opened: its suite and tasks, their rows' hash, its bases."""

from collections.abc import Mapping
from dataclasses import dataclass

from portal.bases.files import resolve
from portal.config import BaseRef, DataConfig
from portal.data.suite import Suite, examples_hash, outline_suite, with_task_files
from portal.data.suites import open_suite
from portal.storage.paths import Folder
from portal.tasks.records import RowsNotAtHandError
from portal.text.encoder import Encoder, find_encoder
from sweeps.study.precisions import resolve_precisions
from sweeps.study.study_file import StudyFile, check_names
from sweeps.study.variants import with_variants


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
    names: tuple[object, ...]  # what the study file says of all that, to tell one context from another

    @classmethod
    def open(cls, settings: StudyFile, out: Folder | None = None, *, outline: bool = False) -> "StudyContext":
        """Read the suite's examples and the bases' digests; ValueError for what the study cannot have.

        In `out` the study ran before, or will run: the folder keeps what precision `auto` stands for. With
        `outline` rows of public benchmarks that are not at hand are taken to be as many as they are known to.
        """
        methods = with_variants(settings)
        check_names(methods)
        suite, own = open_suite(settings.suite, settings.tasks, data=settings.data)
        named = {}
        for names in _others(methods):
            suite, chosen = with_task_files(suite, names)
            named[names] = suite.choose(chosen)
        bases = dict.fromkeys((*settings.sources, *settings.targets))
        device = None if settings.device == "auto" else settings.device
        precisions = resolve_precisions(settings.precision, bases, device=device, out=out)
        refs = {name: resolve(name, precision=precisions[name]) for name in bases}
        tasks = _all_tasks(own, named)
        encoders = {name: find_encoder(name) for name in _encoders(methods)}
        try:
            data_hash = examples_hash(suite, tasks)
        except RowsNotAtHandError:
            if not outline:
                raise
            suite = outline_suite(suite)
            data_hash = examples_hash(suite, tasks)
        return cls(suite, own, named, data_hash, refs, encoders, _names(settings))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that any run of the study has."""
        return _all_tasks(self.own_tasks, self.named)

    def data(self, settings: StudyFile) -> DataConfig:
        """All rows that any of the study's runs sees."""
        assert self.names == _names(settings), "the context is another study's"
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


def _others(settings: StudyFile) -> tuple[tuple[str, ...], ...]:
    """What methods name in place of the study's tasks, each once."""
    return tuple(dict.fromkeys(m.tasks for m in settings.methods.values() if m.tasks is not None))


def _encoders(settings: StudyFile) -> tuple[str, ...]:
    """Those that methods name, each once."""
    return tuple(dict.fromkeys(m.text.encoder for m in settings.methods.values() if m.text is not None))


def _names(settings: StudyFile) -> tuple[object, ...]:
    bases = (settings.sources, settings.targets, settings.precision, settings.device)
    methods = with_variants(settings)
    return (settings.suite, settings.tasks, settings.data, *_others(methods), *_encoders(methods), *bases)
