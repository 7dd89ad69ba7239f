"""`SearchFile`: a study file with a `search` section, which names the settings of a method to search."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from portal.config import AdapterConfig, HypernetConfig
from portal.frozen import Frozen
from portal.messages import explain, nearest
from portal.storage.strict_yaml import read_yaml
from portal.tasks.file_task import is_task_file
from portal.train_config import TrainConfig
from sweeps.study.study_file import StudyFile, check_names

Scalar = bool | int | float | str
_FIELDS: dict[str, type[Frozen]] = {
    "adapter": AdapterConfig,
    "hypernet": HypernetConfig,
    "train": TrainConfig,
}


class Range(Frozen):
    """Numbers from `low` to `high`, both included; whole ones where both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range is above 0 and has no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} is not above 0")
        if self.is_whole and not isinstance(self.step, int | None):
            raise ValueError(f"whole numbers have a whole step, not {self.step}")
        return self

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


class Pruning(Frozen):
    """ASHA (Li et al. 2018): of the trials that reach a rung, one in `factor` goes on to the next."""

    min_epochs: int = Field(default=1, ge=1)
    factor: int = Field(default=3, ge=2)


class Search(Frozen):
    """The settings to search. `space` maps `METHOD.PART.FIELD` or `METHOD.size` to a range or a list.

    A trial's value is the mean of `metric` on the validation slice at the last epoch, over calibrated tasks,
    targets, seeds and sizes of `method`.
    """

    method: str
    space: dict[str, Range | tuple[Any, ...]] = Field(min_length=1)
    trials: int = Field(default=32, ge=1)
    parallel: int = Field(default=8, ge=1)
    metric: Literal["score", "acc_norm", "acc", "log_loss"] = "score"
    prune: Pruning | None = Pruning()
    seed: int = Field(default=0, ge=0)

    @field_validator("space")
    @classmethod
    def _choices_are_there(cls, space: dict[str, Any]) -> dict[str, Any]:
        for key, values in space.items():
            if isinstance(values, tuple) and len({json.dumps(value) for value in values}) < 2:
                raise ValueError(f"{key}: a list of at least two different values, or a range")
        return space

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if self.metric == "log_loss" else "maximize"


class SearchFile(StudyFile):
    """The content of a search file."""

    search: Search


class SearchPlan:
    """A search file, checked: the studies that its trials are.

    ValueError for a method, part or value that the study cannot have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = read_yaml(path)
        try:
            settings = SearchFile.model_validate(self._content)
            check_names(settings)
        except ValidationError as error:
            raise ValueError(f"{path}: {explain(error, SearchFile)}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        self.name, self.search = settings.name, settings.search
        self._chain = self._check_method(settings)
        for key in self.search.space:
            self._check_key(key, settings)

    def identity(self) -> str:
        """The identity of the trials, as JSON: the whole file but their number."""
        content = copy.deepcopy(self._content)
        for free in ("trials", "parallel"):
            content["search"].pop(free, None)
        return json.dumps(content, sort_keys=True)

    def trial(self, values: Mapping[str, Any]) -> StudyFile:
        """The study of a trial: the searched method and what it starts from, with these values."""
        content = self._with(values)
        content["methods"] = {label: content["methods"][label] for label in self._chain}
        return self._validated(content)

    def study(self, values: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The whole study with these values, as the content of a study file."""
        content = {**self._with(values), "name": name}
        self._validated(content)
        return content

    def _with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The file's content without the search, with these values, and with whole paths of its own files."""
        content = _from_anywhere(copy.deepcopy(self._content), self.path.parent)
        del content["search"]
        for key, value in values.items():
            label, *path = key.split(".")
            place = content["methods"][label] = content["methods"][label] or {}
            for part in path[:-1]:
                place[part] = place = place.get(part) or {}
            place[path[-1]] = value
        return content

    def _validated(self, content: dict[str, Any]) -> StudyFile:
        try:
            return StudyFile.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{self.path}: search.space: {explain(error, StudyFile)}") from None

    def _check_method(self, settings: SearchFile) -> tuple[str, ...]:
        """The labels whose settings a trial may change: the searched one and all that it starts from."""
        label = self.search.method
        if label not in settings.methods:
            raise ValueError(
                f"{self.path}: search.method: no method {label!r}{nearest(label, settings.methods)}"
            )
        spec = settings.spec(label)
        if not spec.trains:
            raise ValueError(f"{self.path}: search.method: method {spec.name!r} does not train")
        chain = [label]
        while settings.spec(chain[-1]).parents:
            chain.append(settings.source_label(chain[-1]))
        return tuple(chain)

    def _check_key(self, key: str, settings: SearchFile) -> None:
        where = f"{self.path}: search.space.{key}"
        label, *path = key.split(".")
        if label not in self._chain:
            raise ValueError(
                f"{where}: {label!r} has no part in {self.search.method!r}{nearest(label, self._chain)}"
            )
        parts = settings.spec(label).settings & {*_FIELDS, "size"}
        if not path or path[0] not in parts:
            raise ValueError(f"{where}: METHOD.PART.FIELD or METHOD.size, with PART one of {sorted(parts)}")
        if path[0] != "size":
            fields = _FIELDS[path[0]].model_fields
            if len(path) != 2 or path[1] not in fields:
                raise ValueError(f"{where}: no such setting{nearest('.'.join(path[1:]), fields)}")
        values = self.search.space[key]
        for value in self.extremes(key):
            self.trial({key: value})
        if isinstance(values, Range) and not values.is_whole and self._is_whole_number(key):
            raise ValueError(f"{where}: whole numbers: write its ends as such")

    def extremes(self, key: str) -> tuple[Any, ...]:
        """The values of a list, or a range's ends."""
        values = self.search.space[key]
        return (values.low, values.high) if isinstance(values, Range) else values

    def _is_whole_number(self, key: str) -> bool:
        """Whether the setting takes no fraction."""
        try:
            self.trial({key: 1.5})
        except ValueError as error:
            return "integer" in str(error)
        return False


def _from_anywhere(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of a study file in `folder`, with whole paths of task files and of the folder of rows.

    Paths of suites and bases stay as they are: they are part of a run's identity.
    """
    if isinstance(content.get("tasks"), list):
        content["tasks"] = [_whole_path(task, folder) for task in content["tasks"]]
    if content.get("data") is not None:
        content["data"] = str(Path(content["data"]).absolute())
    return content


def _whole_path(task: str, folder: Path) -> str:
    """A task file's path as `load_study` means it: from the study file's folder, else from where we are."""
    if not is_task_file(task):
        return task
    beside = folder / task
    return str((beside if beside.is_file() else Path(task)).absolute())
