"""`MethodSpec`: what every part of the project must know of a method; `METHODS`: all that are entered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from portal.messages import has_left, nearest


@dataclass(frozen=True)
class MethodSpec:
    """One method: what its runs are made of, what they start from, and how people are told of it.

    `parts` are the optional parts of a RunConfig that it has: adapter, hypernet, train, seed, transfer.
    `parents` are the methods whose finished runs it starts from; a run's stage is the longest path over them.
    `settings` are the keys that a study file may give it. `learner` is a class or function, as `module:name`,
    that makes the portal.learners.base.Learner of a run, its bases and rows by name, and a Start.
    `train_options` are fields of TrainConfig that only some methods take. `made_by` completes "made by" in a
    model card; {sources} stands for the source bases.
    """

    name: str
    label: str
    learner: str
    made_by: str
    parts: frozenset[str] = frozenset()
    settings: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    latents_of: tuple[str, ...] = ()  # methods of a second parent, which has the tasks' latents
    runs_on: Literal["targets", "sources"] = "targets"  # each target alone, or all sources together
    artifact: Literal["portable", "adapters"] | None = None  # what a finished run leaves
    recipe: Literal["joint", "refit", "lora", "teach"] | None = None  # which settings of a recipe it follows
    adapter: Mapping[str, Any] = field(default_factory=dict)  # defaults where it has an adapter of its own
    train_options: frozenset[str] = frozenset()
    frozen_core: bool = False  # whether latents and core are held and only a converter trains
    teaches: bool = False  # whether core and converter are held, and new tasks get latents
    per_task: bool = False  # one adapter per task: epochs may be chosen task by task
    shared_adapter: bool = False  # a single adapter for all tasks
    carries: Literal["factors", "update", "norm"] | None = None  # what a transfer brings over of a LoRA
    by_description: bool = False  # whether latents come from descriptions alone, without a row
    lends_latents: bool = False  # whether it is a control whose tasks have the latents of other tasks
    own_latents: bool = False  # whether every task has the latent that was taught for it on another base
    order: int = 0  # place in tables; equal ones go by name
    article: bool = False  # "the per-task LoRA", but "PorTAL"
    mark: tuple[str, str] | None = None  # colour and marker in figures; None: one of the further ones

    @property
    def trains(self) -> bool:
        """Whether its runs take optimiser steps."""
        return "train" in self.parts

    @property
    def all_parents(self) -> tuple[str, ...]:
        """The methods of all runs that it starts from, those whose latents it takes last."""
        return (*self.parents, *self.latents_of)

    @property
    def is_transfer(self) -> bool:
        """Whether its adapters come from those of another base: Cross-LoRA and its controls."""
        return "source_base" in self.settings

    @property
    def is_port(self) -> bool:
        """Whether its runs bring what joint training learned to a target, at once or over other ports."""
        parents = [find_method(parent) for parent in self.parents]
        return not self.teaches and any(parent.runs_on == "sources" or parent.is_port for parent in parents)

    @property
    def takes_calibrated(self) -> bool:
        """Whether its runs, or those that it starts from, can be trained on a part of their tasks."""
        parents = [find_method(parent) for parent in self.parents]
        return "calibrate" in self.settings or any(parent.takes_calibrated for parent in parents)

    @property
    def is_control(self) -> bool:
        """Whether it is a control of ports: it may be calibrated on a part of its tasks, and is no port."""
        return self.takes_calibrated and not (self.is_port and (self.trains or self.own_latents))

    @property
    def has_size(self) -> bool:
        """Whether a number of calibration rows belongs to its runs: theirs, or those of a port they show."""
        return "size" in self.settings or self.trains or self.takes_calibrated or self.by_description


METHODS: dict[str, MethodSpec] = {}
"""Every method by its name. `register` adds one."""
_RETIRED = ("base_residual",)


def register(spec: MethodSpec) -> MethodSpec:
    """Enter a method; ValueError for a name that is taken or a parent that is not known."""
    if spec.name in METHODS:
        raise ValueError(f"method {spec.name!r} is registered already")
    for parent in spec.all_parents:
        find_method(parent)
    METHODS[spec.name] = spec
    return spec


def find_method(name: str) -> MethodSpec:
    """The spec of that name; ValueError with the nearest name for an unknown one."""
    if name in _RETIRED and name not in METHODS:
        raise ValueError(has_left(f"method {name!r}"))
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}{nearest(name, METHODS)}")
    return METHODS[name]


def stage_of_method(name: str) -> int:
    """1 for a method that needs no other run, else one more than the highest stage of its parents."""
    return 1 + max((stage_of_method(parent) for parent in find_method(name).all_parents), default=0)


def port_methods() -> tuple[str, ...]:
    """Names of the methods that are ports, without controls of one; those that carry latents come last."""
    return tuple(spec.name for spec in METHODS.values() if spec.is_port and not spec.is_control)
