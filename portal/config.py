"""Frozen, validated configs; defaults are the paper's. The hash of a run's whole config is its identity."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CONFIG_VERSION = 1
"""Part of every content key: raise it when the same config would train to other numbers."""

MODULES = ("q", "k", "v", "o", "gate", "up", "down")
Method = Literal[
    "base",
    "lora",
    "hypernet",
    "source",
    "portal",
    "cross_lora",
    "copy_lora",
    "random_lora",
    "zero_lora",
]
METHODS: tuple[Method, ...] = get_args(Method)
TRANSFERS: tuple[Method, ...] = ("cross_lora", "copy_lora", "random_lora", "zero_lora")
"""Adapters that are not trained on the target: Cross-LoRA and its controls."""
TransferMode = Literal["coordinate", "project"]
"""How Cross-LoRA carries factors over (cross_lora.py); `project` needs equal widths."""
Module = Literal["q", "k", "v", "o", "gate", "up", "down"]


def nearest(word: str, known: Iterable[str]) -> str:
    """The tail of an error message: `; did you mean 'x'?`, or all of `known` when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def one_line(error: BaseException, *, most: int | None = None) -> str:
    """The message without line breaks, or the name of the error's class where it is empty.

    `most`: errors of other libraries can be pages long, so the message is cut to so many characters.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


class Frozen(BaseModel):
    """A validated value: unknown keys are refused, nothing changes after construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class AdapterConfig(Frozen):
    """Which projections are adapted, at which LoRA rank. Scaling is alpha / rank."""

    modules: tuple[Module, ...] = ("q", "v")
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)

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
    """Widths of the hypernetwork (METHOD: d_z, d_e, H, d_c)."""

    d_latent: int = Field(default=256, ge=1)
    d_layer: int = Field(default=32, ge=1)
    hidden: int = Field(default=512, ge=1)  # the paper's q/v value; 1024 for all modules
    d_core: int = Field(default=1024, ge=1)


def paper_hidden(modules: Iterable[str]) -> int:
    """The trunk width for these modules: 512 for q and v, 1024 for more."""
    return 512 if set(modules) <= {"q", "v"} else 1024


class DataConfig(Frozen):
    """Which rows are trained on and scored.

    `size` caps the training rows a task (a nested prefix of one seeded permutation); `eval_size` caps the
    scored rows a task and split. `data_hash` is the sha256 of all rendered rows, filled in by the plan.
    """

    suite: str  # "mini", or the folder that holds the tasks
    tasks: tuple[str, ...] = Field(min_length=1)
    prompt_set: str
    files: dict[str, str] = Field(default_factory=dict)  # tasks that come from task files: their licences
    size: int | None = Field(default=2000, ge=1)
    eval_size: int = Field(default=1000, ge=1)
    max_prompt: int = Field(default=768, ge=1)
    data_hash: str


class TrainConfig(Frozen):
    """The optimiser's recipe. AdamW; `lr_latent` is used where task latents train.

    An epoch is one pass over the rows (of the longest task, in joint training and refits) or
    `rounds_per_epoch` steps; there are `epochs` of them, or more until `min_steps` steps are taken.
    `task_gradients` and `choice_loss` are a refit's: every task's gradient scaled to the mean norm, and the
    weight of CE(softmax_k(sum logp_k / chars_k)) beside the gold answer's NLL. `engine: peft` trains a LoRA
    with peft itself, one task after another: the reference.
    """

    epochs: int = Field(default=5, ge=1)
    rounds_per_epoch: int | None = Field(default=None, ge=1)
    min_steps: int = Field(default=0, ge=0)
    batch_size: int = Field(default=4, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    lr_latent: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    ema_floor: float = Field(default=1e-3, gt=0)
    schedule: Literal["constant", "linear"] = "constant"
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    evaluate: Literal["every_epoch", "last_epoch"] = "every_epoch"
    task_gradients: Literal["sum", "norm_equalized"] = "sum"
    choice_loss: float = Field(default=0.0, ge=0)
    engine: Literal["pack", "peft"] = "pack"


Precision = Literal["default", "8bit", "4bit"]
"""Of a frozen base: bf16 on a GPU and fp32 on a CPU, or quantised by bitsandbytes, on a GPU only."""


PRECISIONS: tuple[Precision, ...] = get_args(Precision)


Activations = Literal["keep", "recompute"]
"""Of a base's layers in training: kept for the backward, or computed again in it (half a step more)."""
ACTIVATIONS: tuple[Activations, ...] = get_args(Activations)


class BaseRef(Frozen):
    """A frozen base, pinned: name, revision (a hub commit) or digest of its weights, and precision."""

    name: str
    revision: str
    precision: Precision = "default"


class RunConfig(Frozen):
    """Everything that decides a run's numbers; `key` is its identity.

    method       bases        adapter  hypernet  train  seed  source                            transfer
    base         one          -        -         -      -     -                                 -
    lora         one          yes      -         yes    yes   -                                 -
    hypernet     one          yes      yes       yes    yes   -                                 -
    source       one or more  yes      yes       yes    yes   -                                 -
    portal       one          yes      yes       yes    yes   source run, or artifact's digest  -
    cross_lora   one          yes      -         -      yes   LoRA run                          yes
    copy_lora    one          yes      -         -      yes   LoRA run                          -
    random_lora  one          yes      -         -      yes   LoRA run                          yes
    zero_lora    one          yes      -         -      -     -                                 -
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
    source_bases: tuple[str, ...] | None = None
    transfer: TransferMode | None = None

    @model_validator(mode="after")
    def _parts_fit_the_method(self) -> "RunConfig":
        trains = self.method not in ("base", *TRANSFERS)
        expected = {
            "adapter": self.method != "base",
            "train": trains,
            "seed": trains or self.method in ("cross_lora", "copy_lora", "random_lora"),
            "hypernet": self.method in ("hypernet", "source", "portal"),
            "source": self.method in ("portal", "cross_lora", "copy_lora", "random_lora"),
            "transfer": self.method in ("cross_lora", "random_lora"),
        }
        for part, wanted in expected.items():
            if (getattr(self, part) is not None) != wanted:
                raise ValueError(f"method {self.method!r} {'needs' if wanted else 'takes no'} {part!r}")
        train = self.train
        if train is not None and self.method != "portal" and train.task_gradients != "sum":
            raise ValueError(f"train.task_gradients is for method 'portal', not for {self.method!r}")
        if train is not None and self.method != "portal" and train.choice_loss:
            raise ValueError(f"train.choice_loss is for method 'portal', not for {self.method!r}")
        if train is not None and self.method != "lora" and train.engine != "pack":
            raise ValueError(f"train.engine is for method 'lora', not for {self.method!r}")
        if len(self.bases) > 1 and self.method != "source":
            raise ValueError(f"method {self.method!r} runs on one base, got {len(self.bases)}")
        return self

    @cached_property
    def key(self) -> str:
        """16 hex digits of the sha256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunConfig":
        """A copy has a key of its own."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("key", None)
        return copy

    def canonical_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def describe(self) -> str:
        """A short name for people: method, bases, size, seed. Nothing parses it back."""
        parts = [self.method, "+".join(base.name for base in self.bases)]
        if self.data.size is not None and self.method not in ("base", "zero_lora"):
            parts.append(f"n{self.data.size}")
        if self.seed is not None:
            parts.append(f"s{self.seed}")
        return " ".join(parts)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """One line for the first fault of a validation error: where, what, and the nearest valid key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or model.__name__
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(first['loc'][-1]), _keys_at(model, first['loc'][:-1]))}"
    value = "" if first["type"] in ("missing", "value_error") else f" (got {first['input']!r})"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}{value}"


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> Iterable[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            model = nested[0]
    return model.model_fields
