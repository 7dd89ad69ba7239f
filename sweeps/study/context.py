"""`StudyContext`: what a study file refers to, opened: its suite and tasks, their rows' hash, its bases."""

from collections.abc import Mapping
from dataclasses import dataclass

from portal.bases.files import resolve
from portal.config import BaseRef, DataConfig
from portal.data.suite import Suite, examples_hash, open_suite
from portal.storage.paths import Folder
from sweeps.study.precisions import resolve_precisions
from sweeps.study.study_file import StudyFile, check_names
from sweeps.study.variants import with_variants


@dataclass(frozen=True)
class StudyContext:
    """The suite, the tasks, the hash of all their examples, and each base pinned, by name.

    Opening reads every example. Studies that name the same suite, tasks and bases, as the trials of a search
    do, share one context.
    """

    suite: Suite
    tasks: tuple[str, ...]
    data_hash: str
    refs: Mapping[str, BaseRef]
    names: tuple[object, ...]  # what the study file says of all that, to tell one context from another

    @classmethod
    def open(cls, settings: StudyFile, out: Folder | None = None) -> "StudyContext":
        """Read the suite's examples and the bases' digests; ValueError for what the study cannot have.

        In `out` the study ran before, or will run: the folder keeps what precision `auto` stands for.
        """
        check_names(with_variants(settings))
        suite, tasks = open_suite(settings.suite, settings.tasks, data=settings.data)
        bases = dict.fromkeys((*settings.sources, *settings.targets))
        precisions = resolve_precisions(settings.precision, bases, out=out)
        refs = {name: resolve(name, precision=precisions[name]) for name in bases}
        return cls(suite, tasks, examples_hash(suite, tasks), refs, _names(settings))

    def data(self, settings: StudyFile) -> DataConfig:
        """Which rows the study's runs see, but for their number."""
        assert self.names == _names(settings), "the context is another study's"
        return DataConfig(
            suite=self.suite.name,
            tasks=self.tasks,
            prompt_set=self.suite.prompt_set,
            files={task: self.suite.files[task] for task in self.tasks if task in self.suite.files},
            size=None,
            eval_size=settings.eval_size,
            max_prompt=settings.max_prompt,
            data_hash=self.data_hash,
        )


def _names(settings: StudyFile) -> tuple[object, ...]:
    bases = (settings.sources, settings.targets, settings.precision)
    return (settings.suite, settings.tasks, settings.data, *bases)
