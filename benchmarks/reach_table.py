"""`python -m benchmarks.reach_table STUDY OUT`: how often the warning of a task out of reach is right.

`portal teach` warns of a new task where the taught latent does not fit the task's own training rows. This
looks at the finished runs of method `taught` of a study in OUT with enough rows for a warning, loads their
artifacts and scores the rows that they were fitted to. A task counts as out of reach when teaching brings at
most 10 points of accuracy on test rows, or less than half of the lift of the study's largest LoRA there.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.table import markdown_table
from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.config import RunConfig
from portal.methods import BASE, LORA, TAUGHT
from sweeps.launch.single_run import ARTIFACT, MIN_ROWS, REACH, TrainingFit, fit_tasks, telling_rows
from sweeps.launch.tokenize import prepare_rows
from sweeps.results.run_artifacts import final_scores
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study

SMALL_GAIN = 0.1
"""Teaching that brings no more accuracy than this has not taught the task."""
SMALL_SHARE = 0.5
"""Nor has teaching that brings a smaller share than this of what a LoRA brings."""
_HEADERS = (
    "method", "rows", "tasks and seeds", "out of reach", "warned", "of these right", "precision", "recall",
)  # fmt: skip


@dataclass(frozen=True)
class Taught:
    """A new task that a run taught: accuracies on test rows, and its fit on training rows."""

    label: str
    rows: int
    seed: int
    base: float
    taught: float
    lora: float
    fit: TrainingFit

    @property
    def is_out_of_reach(self) -> bool:
        """By test rows."""
        gain = round(self.taught - self.base, 9)
        return gain <= SMALL_GAIN or gain < round(SMALL_SHARE * (self.lora - self.base), 9)

    @property
    def is_warned_of(self) -> bool:
        """By training rows, as `portal teach` decides."""
        return not self.fit.within_reach


def gather(study: Study, out: Path) -> Iterator[Taught]:
    """Every task of every finished run of method `taught` with enough rows, without a residual.

    ValueError where the study has no frozen base or no LoRA to judge it by.
    """
    store = RunStore(out)
    runs = [run for run in study.runs if _tells(run) and store.is_done(run.key)]
    refs = tuple(dict.fromkeys(ref for run in runs for ref in run.bases))
    folders = prepare_rows(study.suite, study.data, [ref.name for ref in refs], out)
    bases = {ref: load_base(ref.name, revision=ref.revision, precision=ref.precision) for ref in refs}
    for run in runs:
        (ref,) = run.bases
        references = (_reference(study, store, method, run) for method in (BASE.name, LORA.name))
        frozen, lora, taught = (
            {row["task"]: row["score"] for row in final_scores(out, each)} for each in (*references, run)
        )
        artifact = Artifact.load(str(store.run_folder(run.key) / ARTIFACT))
        for fit in fit_tasks(bases[ref], artifact, telling_rows(run, folders[ref.name])):
            yield Taught(
                study.labels[run.key],
                run.data.size or fit.num_rows,
                run.seed or 0,
                frozen[fit.task],
                taught[fit.task],
                lora[fit.task],
                fit,
            )


def _tells(run: RunConfig) -> bool:
    enough = run.data.size is not None and run.data.size >= MIN_ROWS
    return run.method == TAUGHT.name and enough


def _reference(study: Study, store: RunStore, method: str, taught: RunConfig) -> RunConfig:
    """The finished run of a method with the most rows, on the base and of the seed of a run that taught."""
    runs = [
        run for run in study.runs
        if run.method == method
        and run.bases == taught.bases
        and run.seed in (taught.seed, None)
        and store.is_done(run.key)
    ]  # fmt: skip
    if not runs:
        raise ValueError(
            f"no finished run of method {method!r} on {taught.bases[0].name}, seed {taught.seed}, to judge "
            "new tasks by"
        )
    return max(runs, key=lambda run: run.data.size or 0)


def render(found: Iterable[Taught]) -> str:
    """Markdown: a line per method and rows, over tasks and seeds; then the warnings that were not right."""
    groups: dict[tuple[str, int], list[Taught]] = defaultdict(list)
    for task in found:
        groups[task.label, task.rows].append(task)
    lines = []
    for (label, rows), tasks in sorted(groups.items()):
        out = [task for task in tasks if task.is_out_of_reach]
        warned = [task for task in tasks if task.is_warned_of]
        right = [task for task in warned if task.is_out_of_reach]
        counts = map(str, (rows, len(tasks), len(out), len(warned), len(right)))
        lines.append((label, *counts, _share(len(right), len(warned)), _share(len(right), len(out))))
    parts = markdown_table(_HEADERS, lines)
    parts += ["", f"Warned at {REACH:g} of a guess's uncertainty left on training rows.", ""]
    for title, wanted in (("Warned of though within reach", True), ("Out of reach, no warning", False)):
        wrong = [
            _named(task)
            for tasks in groups.values()
            for task in tasks
            if task.is_warned_of is wanted and task.is_out_of_reach is not wanted
        ]
        parts.append(f"- {title}: {'; '.join(wrong) or 'none'}.")
    return "\n".join(parts) + "\n"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def _named(task: Taught) -> str:
    scores = f"{task.base:.2f} becomes {task.taught:.2f}, a LoRA has {task.lora:.2f}"
    place = f"{task.label}, {task.rows} rows, seed {task.seed}"
    return f"`{task.fit.task}` ({place}: {scores}; {task.fit.left:.2f} left)"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reach_table", description=(__doc__ or "").split("\n\n", 1)[1]
    )
    parser.add_argument("study", metavar="STUDY", help="a shipped study or a study file")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder of its finished runs")
    parser.add_argument("--seed", type=int, action="append", help="only the runs of this seed; several times")
    arguments = parser.parse_args()
    study = load_study(arguments.study, out=arguments.out)
    table = render(gather(study.part(arguments.seed) if arguments.seed else study, arguments.out))
    Console().print(table, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
