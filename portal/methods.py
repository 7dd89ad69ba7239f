"""`MethodSpec`: what every part of the project must know of a method, in one table.

Configs, study files, plans, learners, cards and analysis derive from it. To add a method, add its spec here
and write its learner; nothing else names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from portal.messages import nearest
from portal.modules import ALL_MODULES

LORA_ADAPTER: Mapping[str, Any] = {"modules": ALL_MODULES, "rank": 16, "alpha": 32}
"""The adapter of a per-task LoRA where a study names none."""


@dataclass(frozen=True)
class MethodSpec:
    """One method: what its runs are made of, what they start from, and how people are told of it.

    `parts` are the optional parts of a RunConfig that it has: adapter, hypernet, train, seed, transfer.
    `parents` are the methods whose finished runs it starts from; a run's stage is the longest path over them.
    `settings` are the keys that a study file may give it. `learner` is the class that trains it, as
    `module:Class`, a subclass of portal.learners.base.Learner. `train_options` are fields of TrainConfig that
    only some methods take. `made_by` completes "made by" in a model card; {sources} stands for the source
    bases.
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
    base_residuals: bool = False  # whether residuals are in its base's coordinates; it needs a rank of them
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

    @property
    def inherits_adapter(self) -> bool:
        """Whether its adapter's shape is that of its parent."""
        return bool(self.parents)


_TARGET_TRAINING = frozenset({"targets", "seeds", "size", "curve", "overrides", "train"})
_TRANSFER = frozenset({"targets", "seeds", "source", "source_base"})
_SHARED_PARAMETERS = frozenset(
    {"balance", "factor_decay", "hypernet_products", "task_gradients", "tasks_per_step"}
)
"""Options of methods whose tasks share parameters."""
_JOINT_TRAINING = _SHARED_PARAMETERS | {"residual_rank"}

METHODS: dict[str, MethodSpec] = {}
"""Every method by its name. `register` adds one."""


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
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}{nearest(name, METHODS)}")
    return METHODS[name]


def stage_of_method(name: str) -> int:
    """1 for a method that needs no other run, else one more than the highest stage of its parents."""
    return 1 + max((stage_of_method(parent) for parent in find_method(name).all_parents), default=0)


def trained_methods() -> tuple[str, ...]:
    """Names of the methods whose runs take optimiser steps."""
    return tuple(spec.name for spec in METHODS.values() if spec.trains)


def port_methods() -> tuple[str, ...]:
    """Names of the methods that are ports, without controls of one; those that carry latents come last."""
    return tuple(spec.name for spec in METHODS.values() if spec.is_port and not spec.is_control)


BASE = register(
    MethodSpec(
        name="base",
        label="frozen base",
        learner="portal.learners.fixed:FrozenBase",
        made_by="the base as it is",
        settings=frozenset({"targets"}),
        order=0,
        article=True,
        mark=("#6b7280", "D"),
    )
)
"""Recovered lift is measured from this method."""
LORA = register(
    MethodSpec(
        name="lora",
        label="per-task LoRA",
        learner="portal.learners.lora:LoraLearner",
        made_by="trained for this task alone",
        parts=frozenset({"adapter", "train", "seed"}),
        settings=_TARGET_TRAINING | {"adapter"},
        artifact="adapters",
        recipe="lora",
        adapter=LORA_ADAPTER,
        train_options=frozenset({"engine"}),
        per_task=True,
        order=70,
        article=True,
        mark=("#d55e00", "s"),
    )
)
"""Recovered lift is measured against this method."""
LIFT_REFERENCES = (BASE.name, LORA.name)
"""What recovered lift is measured from, and against: these two have no lift of their own."""
SHARED_LORA = register(
    MethodSpec(
        name="shared_lora",
        label="one LoRA for all tasks",
        learner="portal.learners.shared_lora:SharedLora",
        made_by="a control: one adapter trained on all tasks together",
        parts=frozenset({"adapter", "train", "seed"}),
        settings=_TARGET_TRAINING | {"adapter", "calibrate", "tasks"},
        artifact="adapters",
        recipe="lora",
        adapter=LORA_ADAPTER,
        shared_adapter=True,
        order=45,
        mark=("#7a6a00", "X"),
    )
)
HYPERNET = register(
    MethodSpec(
        name="hypernet",
        label="LoRA hypernet",
        learner="portal.learners.hypernet:HypernetLearner",
        made_by="latents, core and converter trained on this base",
        parts=frozenset({"adapter", "hypernet", "train", "seed"}),
        settings=_TARGET_TRAINING | {"adapter", "hypernet"},
        artifact="portable",
        recipe="joint",
        train_options=_JOINT_TRAINING,
        order=50,
        article=True,
        mark=("#009e73", "^"),
    )
)
SOURCE = register(
    MethodSpec(
        name="source",
        label="joint source",
        learner="portal.learners.hypernet:HypernetLearner",
        made_by="joint training of latents, core and converters",
        parts=frozenset({"adapter", "hypernet", "train", "seed"}),
        settings=frozenset({"seeds", "size", "adapter", "train", "hypernet", "tasks", "text"}),
        runs_on="sources",
        artifact="portable",
        recipe="joint",
        train_options=_JOINT_TRAINING,
        order=-10,
    )
)
PORTAL = register(
    MethodSpec(
        name="portal",
        label="PorTAL",
        learner="portal.learners.hypernet:HypernetLearner",
        made_by="converter refitted from a source on {sources}",
        parts=frozenset({"adapter", "hypernet", "train", "seed"}),
        settings=_TARGET_TRAINING | {"source", "calibrate"},
        parents=("source",),
        artifact="portable",
        recipe="refit",
        train_options=_SHARED_PARAMETERS | {"choice_loss", "layer_start"},
        frozen_core=True,
        order=60,
        mark=("#0072b2", "o"),
    )
)
TAUGHT = register(
    MethodSpec(
        name="taught",
        label="taught latents",
        learner="portal.learners.taught:TaughtLatents",
        made_by="latents of new tasks fitted on this base, with a core from {sources} and its converter held",
        parts=frozenset({"adapter", "hypernet", "train", "seed"}),
        settings=_TARGET_TRAINING | {"source"},
        parents=("source",),
        artifact="portable",
        recipe="teach",
        train_options=frozenset({"latent_start", "residual_rank"}),
        teaches=True,
        per_task=True,
        order=65,
        mark=("#cc79a7", "d"),
    )
)
"""Of `portal teach`; in a study it starts from a source's own converter for the base."""
BASE_RESIDUAL = register(
    replace(
        TAUGHT,
        name="base_residual",
        label="latents and base residuals",
        learner="portal.learners.base_residual:BaseResiduals",
        made_by="a control: latents of new tasks fitted on this base with a LoRA beside each, from {sources}",
        artifact="adapters",
        base_residuals=True,
        order=66,
        mark=None,
    )
)
"""What a residual could give that need not travel."""
NEAREST_LATENT = register(
    MethodSpec(
        name="nearest_latent",
        label="nearest task's latent",
        article=True,
        learner="portal.learners.nearest:NearestLatents",
        made_by="a control: the latent of the source's task that fits the rows best, from {sources}",
        parts=frozenset({"adapter", "hypernet", "seed"}),
        settings=_TARGET_TRAINING - {"train"} | {"source"},
        parents=("source",),
        artifact="portable",
        recipe="teach",
        teaches=True,
        lends_latents=True,
        order=53,
    )
)
DESCRIBED = register(
    MethodSpec(
        name="described",
        label="described latents",
        learner="portal.learners.described:DescribedLatents",
        made_by="latents of new tasks by their descriptions alone, with a core from {sources}",
        parts=frozenset({"adapter", "hypernet", "seed"}),
        settings=frozenset({"targets", "seeds", "source"}),
        parents=("source",),
        artifact="portable",
        recipe="teach",
        teaches=True,
        by_description=True,
        order=64,
        mark=("#44aa99", "h"),
    )
)
"""No row of the tasks is read on any base."""
MISMATCHED_DESCRIPTION = register(
    replace(
        DESCRIBED,
        name="mismatched_description",
        label="description of another task",
        article=True,
        learner="portal.learners.described:MismatchedDescriptions",
        made_by="a control: latents by the descriptions of other tasks, with a core from {sources}",
        lends_latents=True,
        order=52,
        mark=None,
    )
)
_TEACHING = (TAUGHT.name, NEAREST_LATENT.name, DESCRIBED.name)
MEAN_LATENT = register(
    MethodSpec(
        name="mean_latent",
        label="port with the mean latent",
        learner="portal.learners.mean_latent:MeanLatent",
        made_by="a control: the mean latent of a port's calibrated tasks, from {sources}",
        parts=frozenset({"adapter", "hypernet", "seed"}),
        settings=frozenset({"targets", "seeds", "source", "curve"}),
        parents=("portal",),
        artifact="adapters",
        order=55,
        article=True,
        mark=("#332288", "P"),
    )
)
CARRIED = register(
    MethodSpec(
        name="carried",
        label="carried latents",
        learner="portal.learners.carried:CarriedLatents",
        made_by="latents taught on another base, with a port's converter, from {sources}",
        parts=frozenset({"adapter", "hypernet", "seed"}),
        settings=frozenset({"targets", "seeds", "source", "latents", "curve"}),
        parents=("portal",),
        latents_of=_TEACHING,
        artifact="adapters",
        own_latents=True,
        order=66,
        mark=("#0072b2", "*"),
    )
)
"""Tasks that were taught on one base, on another that saw no row of them."""
MISMATCHED_LATENT = register(
    replace(
        CARRIED,
        name="mismatched_latent",
        label="carried latent of another task",
        article=True,
        learner="portal.learners.carried:MismatchedLatents",
        made_by="a control: latents taught for other tasks, with a port's converter, from {sources}",
        own_latents=False,
        lends_latents=True,
        order=54,
        mark=None,
    )
)
CROSS_LORA = register(
    MethodSpec(
        name="cross_lora",
        label="Cross-LoRA",
        learner="portal.learners.fixed:TransferredLoras",
        made_by="Cross-LoRA from {sources}, without data of this base",
        parts=frozenset({"adapter", "seed", "transfer"}),
        settings=_TRANSFER | {"transfer"},
        parents=("lora",),
        artifact="adapters",
        per_task=True,
        carries="update",
        order=40,
        mark=("#882255", "v"),
    )
)
COPY_LORA = register(
    MethodSpec(
        name="copy_lora",
        label="direct copy",
        learner="portal.learners.fixed:TransferredLoras",
        made_by="a control: the factors trained on {sources}, as they are",
        parts=frozenset({"adapter", "seed"}),
        settings=_TRANSFER,
        parents=("lora",),
        artifact="adapters",
        carries="factors",
        order=30,
    )
)
RANDOM_LORA = register(
    MethodSpec(
        name="random_lora",
        label="random, norm-matched",
        learner="portal.learners.fixed:TransferredLoras",
        made_by="a control: random factors as large as Cross-LoRA's from {sources}",
        parts=frozenset({"adapter", "seed", "transfer"}),
        settings=_TRANSFER | {"transfer"},
        parents=("lora",),
        artifact="adapters",
        carries="norm",
        order=20,
    )
)
ZERO_LORA = register(
    MethodSpec(
        name="zero_lora",
        label="zero update",
        learner="portal.learners.fixed:TransferredLoras",
        made_by="a control: an update of zero",
        parts=frozenset({"adapter"}),
        settings=frozenset({"targets", "adapter"}),
        artifact="adapters",
        adapter=LORA_ADAPTER,
        order=10,
    )
)
