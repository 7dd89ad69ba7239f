"""`load_embedded`: a suite that comes with the package, from `portal/embedded/NAME`.

`suite.yaml` names tasks, kinds, groups, and what is said of tasks; `rows.parquet` has the rows of all tasks,
those of a task and split in their order, in the columns task, split, id, prompt, choices, gold, cluster and
references (right answers; null where there are choices to choose from).
"""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from portal.answers import AnswerConfig
from portal.data.suite import Suite
from portal.embedded import FOLDER
from portal.frozen import Frozen
from portal.storage.parquet import decode_table
from portal.storage.records import read_yaml
from portal.tasks.descriptions import describe
from portal.tasks.example import SPLITS, Example, Written
from portal.tasks.lint import Lint

Names = Annotated[tuple[str, ...], BeforeValidator(str.split)]
"""Words in one text."""


class Described(Frozen):
    """What the prompts of a kind or a task show, and what they ask for, in several wordings."""

    shown: str
    wordings: tuple[str, ...]


class SuiteFile(Frozen):
    """The content of a suite.yaml. Descriptions and answers are by kind, or by task where it has no kind."""

    tasks: Names
    kinds: dict[str, Names] = Field(default={})
    choices: dict[str, Names] = Field(default={})
    """By their form, the tasks whose choices are more than the answer `{a}`."""
    descriptions: dict[str, Described] = Field(default={})
    answers: dict[str, AnswerConfig] = Field(default={})
    groups: dict[str, Names] = Field(default={})


def load_embedded(name: str) -> Suite:
    """The suite of that name, one of `portal.embedded.SUITES`; its rows are read when they are asked for."""
    file = SuiteFile.model_validate(read_yaml(FOLDER / name / "suite.yaml"))
    kinds, forms = _by_task(file.kinds), _by_task(file.choices)
    described = {task: file.descriptions.get(kinds.get(task, task)) for task in file.tasks}
    judged = {task: file.answers.get(kinds.get(task, task)) for task in file.tasks}
    return Suite(
        name,
        name,
        file.tasks,
        lambda task: (_read_task(name, task), Lint()),
        groups=file.groups,
        kinds={task: kinds[task] for task in file.tasks if task in kinds},
        descriptions={
            task: describe(said.shown, said.wordings, forms.get(task, "{a}"))
            for task, said in described.items()
            if said is not None
        },
        answer_of=judged.get,
    )


def _by_task(groups: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {task: name for name, tasks in groups.items() for task in tasks}


@cache
def _read_task(suite: str, task: str) -> dict[str, Sequence[Example]]:
    """The task's examples by split, the same ones for every reader in a process."""
    rows = _read_rows(suite).filter(pc.field("task") == task)
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    columns = [rows[name].to_pylist() for name in ("split", "id", "prompt", "gold", "cluster")]
    lists = [_tuples(rows[name].combine_chunks()) for name in ("choices", "references")]
    for split, row, prompt, gold, cluster, choices, references in zip(*columns, *lists, strict=True):
        written = Written(references) if references else None
        splits[split].append(Example(task, row, prompt, choices, gold, cluster, None, written))
    return {split: tuple(examples) for split, examples in splits.items()}


@cache
def _read_rows(suite: str) -> pa.Table:
    table = decode_table((FOLDER / suite / "rows.parquet").read_bytes())
    return table.set_column(0, "task", table["task"].dictionary_encode())  # tasks are looked for faster


def _tuples(column: Any) -> list[tuple[str, ...]]:
    """The lists of an Arrow column; much faster than its own `to_pylist`."""
    values = iter(column.flatten().to_pylist())
    return [tuple(islice(values, length or 0)) for length in pc.list_value_length(column).to_pylist()]
