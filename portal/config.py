"""Frozen, validated configs; defaults are the paper's. The hash of a run's whole config is its identity."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from portal.answers import AnswerConfig
from portal.frozen import ADDED, Frozen, content_key
from portal.messages import nearest
from portal.methods import METHODS, MethodSpec, find_method
from portal.train_config import TrainConfig

CONFIG_VERSION = 1
"""Part of every content key: raise it when the same config would train to other numbers."""
MINILM = "minilm"
"""The encoder of descriptions that is known by a name of its own."""


def _known_method(name: str) -> str:
    return find_method(name).name


Method = Annotated[
    str, AfterValidator(_known_method), WithJsonSchema({"enum": list(METHODS), "type": "string"})
]
"""The name of a method of portal.methods."""
TransferMode = Literal["coordinate", "project"]
"""How Cross-LoRA carries factors over (portal/learners/transfer.py); `project` needs equal widths."""
Module = Literal[
    "q", "k", "v", "o", "gate", "up", "down", "qkv", "gate_up", "q_b", "q_a", "kv_b", "kv_a",
    "in_qkv", "in_z", "in_proj", "out_proj",
]  # fmt: skip
"""A module of portal.modules."""


class AdapterConfig(Frozen):
    """Which projections are adapted, at which LoRA rank. Scaling is alpha / rank."""

    modules: tuple[Module, ...] = ("q", "v")
    """The linear layers that are adapted, in every layer that has them."""
    rank: int = Field(default=8, ge=1)
    """The rank r of every adapter."""
    alpha: int = Field(default=16, ge=1)
    """Adapters are scaled by alpha / rank; 2 r where only the rank is given."""

    @model_validator(mode="before")
    @classmethod
    def _alpha_follows_the_rank(cls, values: Any) -> Any:
        """alpha = 2 r where only the rank is given."""
        if isinstance(values, dict) and isinstance(values.get("rank"), int) and "alpha" not in values:
            return {**values, "alpha": max(1, 2 * values["rank"])}
        return values

    @model_validator(mode="after")
    def _modules_are_unique(self) -> "AdapterConfig":
        if not self.modules or len(set(self.modules)) != len(self.modules):
            raise ValueError(f"modules must be a non-empty list without repeats, got {list(self.modules)}")
        return self

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank


class HypernetConfig(Frozen):
    """Widths of the hypernetwork, d_z, d_e, H and d_c of docs/method.md, "Notation", and its start."""

    d_latent: int = Field(default=256, ge=1)
    """d_z: the width of a task latent."""
    d_layer: int = Field(default=32, ge=1)
    """d_e: the width of a layer's embedding."""
    hidden: int = Field(default=512, ge=1)
    """H: the width of the trunk. The default is the paper's for q and v; it has 1024 for all modules."""
    d_core: int = Field(default=1024, ge=1)
    """d_c: the width of the core's coordinates, which converters read."""
    latent_std: Annotated[float, ADDED] = Field(default=0.02, gt=0)
    """Standard deviation of the entries of a fresh latent."""


def paper_hidden(modules: Iterable[str]) -> int:
    """The trunk width for these modules: 512 for q and v, 1024 for more."""
    return 512 if set(modules) <= {"q", "v"} else 1024


class DataConfig(Frozen):
    """Which rows are trained on and scored.

    `size` caps the training rows per task (a nested prefix of one seeded permutation), and is 0 where none
    is read; `eval_size` caps the scored rows per task and split. `calibrated` are the tasks that are trained
    on, where that is not all of them: the others are scored without a row of them, and what trains nothing
    may have none. `descriptions` are phrasings by task, where the run reads any, and `answers` say how those
    of tasks with written answers are judged. `data_hash` is the sha256 of all rendered rows of the study's
    tasks, filled in by the plan.
    """

    suite: str  # "mini", or the folder that holds the tasks
    tasks: tuple[str, ...] = Field(min_length=1)
    prompt_set: str
    files: dict[str, str] = Field(default_factory=dict)  # tasks that come from task files: their licences
    size: int | None = Field(default=2000, ge=0)
    eval_size: int = Field(default=1000, ge=1)
    max_prompt: int = Field(default=768, ge=1)
    calibrated: Annotated[tuple[str, ...] | None, ADDED] = None
    descriptions: Annotated[dict[str, tuple[str, ...]], ADDED] = Field(default={})
    answers: Annotated[dict[str, AnswerConfig], ADDED] = Field(default={})
    data_hash: str

    @model_validator(mode="after")
    def _named_tasks_are_some_of_the_tasks(self) -> "DataConfig":
        for name in ("calibrated", "descriptions", "answers"):
            for task in getattr(self, name) or ():
                if task not in self.tasks:
                    raise ValueError(f"{name}: no task {task!r}{nearest(task, self.tasks)}")
        return self

    def with_tasks(self, tasks: tuple[str, ...]) -> "DataConfig":
        """The same of these tasks, all of which are trained on; their files must be known here."""
        files, answers = (
            {task: value for task, value in of.items() if task in tasks} for of in (self.files, self.answers)
        )
        return self.model_copy(
            update={"tasks": tasks, "files": files, "answers": answers, "calibrated": None}
        )

    def undescribed(self) -> "DataConfig":
        """The same for a run that reads no descriptions."""
        return self.model_copy(update={"descriptions": {}})

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks whose rows are trained on, in the order of `tasks`: with a size of 0 none."""
        if self.size == 0:
            return ()
        if self.calibrated is None:
            return self.tasks
        chosen = set(self.calibrated)
        return tuple(task for task in self.tasks if task in chosen)


class TextSettings(Frozen):
    """Task latents from descriptions."""

    encoder: str = MINILM
    """`minilm`, a folder of sentence-transformers or a hub id."""
    dropout: float = Field(default=0.2, ge=0, le=1)
    """How often joint training goes by the description alone, from 0 to 1."""


class TextConfig(TextSettings):
    """The same with the encoder pinned."""

    encoder_sha256: str


Precision = Literal["default", "bf16", "8bit", "4bit"]
"""Precision of a frozen base: `default` is bf16 on a GPU and fp32 on a CPU, `bf16` is that on both, where the
CPU has the instructions; 8 and 4 bits are by bitsandbytes, on a GPU only."""
PrecisionChoice = Literal["default", "bf16", "8bit", "4bit", "auto"]
"""A precision to ask for. `auto` is resolved before a run is made: no config holds it."""
PRECISIONS: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)
DeviceKind = Literal["cpu", "cuda"]
"""What runs are computed on; their numbers differ between the two."""
DeviceChoice = Literal["auto", "cpu", "cuda"]
"""A kind of device to ask for. `auto` is a GPU where there is one."""
DEVICES: tuple[DeviceChoice, ...] = get_args(DeviceChoice)
Activations = Literal["keep", "recompute"]
"""Activations of a base in training: kept for the backward, or recomputed in it (1.5 times the time)."""
ACTIVATIONS: tuple[Activations, ...] = get_args(Activations)


class BaseRef(Frozen):
    """A frozen base, pinned: name, revision (a hub commit) or digest of its weights, and precision."""

    name: str
    revision: str
    precision: Precision = "default"


class RunConfig(Frozen):
    """Everything that decides a run's numbers; `key` is its identity.

    Which of the optional parts a run has follows from its method's spec (portal/methods). `source` is the
    key of the run that it starts from, or the digest of an artifact that was made elsewhere; `latents` is the
    key of the run that taught the latents it takes to its base.
    """

    version: int = CONFIG_VERSION
    method: Method
    bases: tuple[BaseRef, ...] = Field(min_length=1)
    data: DataConfig
    adapter: AdapterConfig | None = None
    hypernet: HypernetConfig | None = None
    train: TrainConfig | None = None
    seed: int | None = Field(default=None, ge=0)
    source: str | None = None
    latents: Annotated[str | None, ADDED] = None
    text: Annotated[TextConfig | None, ADDED] = None
    source_bases: tuple[str, ...] | None = None
    transfer: TransferMode | None = None

    @model_validator(mode="after")
    def _parts_fit_the_method(self) -> "RunConfig":
        spec = self.spec
        parents = {"source": bool(spec.parents), "latents": bool(spec.latents_of)}
        wanted = {part: part in spec.parts for part in _PARTS} | parents
        for part, needed in wanted.items():
            if (getattr(self, part) is not None) != needed:
                raise ValueError(f"method {self.method!r} {'needs' if needed else 'takes no'} {part!r}")
        special = frozenset() if self.train is None else self.train.special_options
        for option in sorted(special - spec.train_options):
            takers = " or ".join(repr(each.name) for each in METHODS.values() if option in each.train_options)
            raise ValueError(f"train.{option} is for method {takers}, not for {self.method!r}")
        if self.data.size == 0 and self.train is not None:
            raise ValueError(f"data.size: method {self.method!r} trains: 0 rows per task are below 1")
        if self.text is not None and "text" not in spec.settings:
            takers = " or ".join(repr(each.name) for each in METHODS.values() if "text" in each.settings)
            raise ValueError(f"text is for method {takers}, not for {self.method!r}")
        if self.data.calibrated is not None and not spec.takes_calibrated:
            takers = " or ".join(repr(each.name) for each in METHODS.values() if "calibrate" in each.settings)
            raise ValueError(f"data.calibrated is for method {takers}, not for {self.method!r}")
        if self.data.calibrated == () and self.train is not None:
            raise ValueError(f"data.calibrated: method {self.method!r} trains; name at least one task")
        if len(self.bases) > 1 and spec.runs_on != "sources":
            raise ValueError(f"method {self.method!r} runs on one base, got {len(self.bases)}")
        self._check_descriptions()
        return self

    def _check_descriptions(self) -> None:
        """ValueError unless all tasks have descriptions where they are read, and none has any elsewhere."""
        described = self.data.descriptions
        if not self.reads_descriptions and described:
            raise ValueError(f"data.descriptions: method {self.method!r} reads none here")
        for task in self.data.tasks if self.reads_descriptions else ():
            if not all(text.strip() for text in described.get(task) or ("",)):
                raise ValueError(f"data.descriptions: task {task!r} has none, or an empty one")

    @property
    def reads_descriptions(self) -> bool:
        """Whether latents depend on what is said of the tasks."""
        starts = self.train is not None and self.train.latent_start == "description"
        return self.text is not None or self.spec.by_description or starts

    @property
    def spec(self) -> MethodSpec:
        """The spec of the run's method (portal/methods/table.py)."""
        return find_method(self.method)

    @property
    def parent_keys(self) -> tuple[str, ...]:
        """Keys of the runs that must be finished before this one starts."""
        return tuple(key for key in (self.source, self.latents) if key is not None)

    @cached_property
    def key(self) -> str:
        """16 hex digits of the sha256 of the canonical JSON."""
        return content_key(self.canonical_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunConfig":
        """A copy has a key of its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("key", None)
        return copy

    def describe(self) -> str:
        """A short name for people: method, bases, size, seed. Nothing parses it back."""
        parts = [self.method, "+".join(base.name for base in self.bases)]
        if self.data.size is not None and (self.spec.trains or self.spec.parents):
            parts.append(f"n{self.data.size}")
        if self.seed is not None:
            parts.append(f"s{self.seed}")
        return " ".join(parts)


_PARTS = ("adapter", "train", "seed", "hypernet", "transfer")
