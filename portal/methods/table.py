"""Every method of the project: to add one, add its spec here and write its learner; nothing else names it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from portal.methods.spec import MethodSpec, register
from portal.modules import ALL_MODULES

LORA_ADAPTER: Mapping[str, Any] = {"modules": ALL_MODULES, "rank": 16, "alpha": 32}
"""The adapter of a per-task LoRA where a study names none."""
_TARGET_TRAINING = frozenset({"targets", "seeds", "size", "curve", "overrides", "train"})
_TRANSFER = frozenset({"targets", "seeds", "source", "source_base"})
_SHARED_PARAMETERS = frozenset(
    {"balance", "factor_decay", "hypernet_products", "task_gradients", "tasks_per_step"}
)
"""Options of methods whose tasks share parameters."""

BASE = register(
    MethodSpec(
        name="base",
        label="frozen base",
        learner="portal.learners.fixed:frozen_base",
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
        learner="portal.learners.lora:SharedLora",
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
        train_options=_SHARED_PARAMETERS,
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
        train_options=_SHARED_PARAMETERS,
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
        learner="portal.learners.new_tasks:TaughtLatents",
        made_by="latents of new tasks fitted on this base, with a core from {sources} and its converter held",
        parts=frozenset({"adapter", "hypernet", "train", "seed"}),
        settings=_TARGET_TRAINING | {"source"},
        parents=("source",),
        artifact="portable",
        recipe="teach",
        train_options=frozenset({"latent_start"}),
        teaches=True,
        per_task=True,
        order=65,
        mark=("#cc79a7", "d"),
    )
)
"""Of `portal teach`; in a study it starts from a source's own converter for the base."""
NEAREST_LATENT = register(
    MethodSpec(
        name="nearest_latent",
        label="nearest task's latent",
        article=True,
        learner="portal.learners.new_tasks:FixedLatents",
        made_by="new tasks with the latents of tasks of {sources} that fit their rows best on this base",
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
        learner="portal.learners.new_tasks:FixedLatents",
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
        learner="portal.learners.fixed:mean_latent",
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
        learner="portal.learners.fixed:carried_latents",
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
        learner="portal.learners.fixed:transferred_loras",
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
        learner="portal.learners.fixed:transferred_loras",
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
        learner="portal.learners.fixed:transferred_loras",
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
        learner="portal.learners.fixed:transferred_loras",
        made_by="a control: an update of zero",
        parts=frozenset({"adapter"}),
        settings=frozenset({"targets", "adapter"}),
        artifact="adapters",
        adapter=LORA_ADAPTER,
        order=10,
    )
)
