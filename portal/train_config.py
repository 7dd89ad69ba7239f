"""`TrainConfig`: how a run is trained: optimiser, rows of a step, evaluations, and what some methods add."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from portal.frozen import ADDED, Frozen, Retired
from portal.messages import has_left

LatentStart = Literal["mean", "nearest", "description"]
LATENT_STARTS: tuple[LatentStart, ...] = get_args(LatentStart)
"""Where a taught latent starts: at the mean of the source's, at the one that fits its rows best, or at what
its description stands for."""
_Beta = Annotated[float, Field(ge=0, lt=1)]
TaskGradients = Literal["sum", "norm_equalized"]
"""How tasks' gradients are added up: as they are, or scaled to their mean norm."""
_RETIRED_WEIGHTINGS = ("upgrad", "pcgrad", "aligned_mtl", "imtl_g")
Fp32Products = Literal["tf32", "fp32"]
"""How a GPU multiplies fp32 matrices: with 11 bits of precision at many times the rate, or with all 24."""

_SPECIAL_OPTIONS = (
    "balance",
    "choice_loss",
    "factor_decay",
    "hypernet_products",
    "latent_start",
    "layer_start",
    "task_gradients",
    "tasks_per_step",
)
"""Fields that only some methods take."""


class TrainConfig(Frozen):
    """The optimiser's recipe: AdamW.

    An epoch is one pass over the rows (of the longest task, in joint training and refits), or so many steps.
    """

    epochs: int = Field(default=5, ge=1)
    """Number of epochs."""
    rounds_per_epoch: int | None = Field(default=None, ge=1)
    """Steps of an epoch, in place of one pass over the rows."""
    min_steps: int = Field(default=0, ge=0)
    """There are more epochs, until so many steps are taken."""
    batch_size: int = Field(default=4, ge=1)
    """Rows of every task in a step."""
    lr: float = Field(default=1e-3, gt=0)
    """The learning rate; in joint training that of all but the latents."""
    lr_latent: float = Field(default=2e-3, gt=0)
    """The learning rate of task latents, where they train."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    betas: Annotated[tuple[_Beta, _Beta], ADDED] = (0.9, 0.999)
    """AdamW's betas."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The greatest norm of a gradient; greater ones are scaled down to it."""
    tasks_per_step: Annotated[int | None, ADDED] = Field(default=None, ge=1)
    """So many tasks take part in a step, in turns, so that an epoch has more steps; unset: all."""
    balance: Annotated[Literal["rows", "answer_tokens"], ADDED] = "rows"
    """`rows`: every task has `batch_size` rows of a step. `answer_tokens`: so many that all have about as
    many answer tokens."""
    factor_decay: Annotated[float, ADDED] = Field(default=0.0, ge=0)
    """Weight of half the squared norm of every task's generated factors."""
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the moving average of each task's loss, by which joint training and refits divide it."""
    ema_floor: float = Field(default=1e-3, gt=0)
    """The least value of that average that a loss is divided by."""
    schedule: Literal["constant", "linear"] = "constant"
    """How the learning rate goes on after warm-up."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    evaluate: Literal["every_epoch", "last_epoch"] = "every_epoch"
    """When rows are scored."""
    evaluate_every: Annotated[int | None, ADDED] = Field(default=None, ge=1)
    """Only at ends of epochs that reach another multiple of so many steps, and at the last."""
    keep: Annotated[Literal["last", "best_validation"], ADDED] = "last"
    """Which parameters the run leaves: those of the last step, or of the evaluation that validation rows
    prefer."""
    test_scores: Annotated[Literal["every_evaluation", "kept"], ADDED] = "every_evaluation"
    """Test rows, two thirds of what is scored, are scored at every evaluation, or at the kept one and the
    last."""
    task_gradients: TaskGradients = "sum"
    """How tasks' gradients of what they share are added up: as they are, or scaled to their mean norm."""
    choice_loss: float = Field(default=0.0, ge=0)
    """Weight of CE(softmax_k(sum logp_k / chars_k)) over the choices, beside the right answer's NLL; of a
    refit."""
    layer_start: Annotated[Literal["random", "source"], ADDED] = "random"
    """Where a refit's layer embeddings start: from draws, or where the source's stand."""
    latent_start: Annotated[LatentStart, ADDED] = "mean"
    """Where a taught latent starts: at the mean of the source's, at the one that fits its rows best, or at
    what its description stands for."""
    hypernet_products: Annotated[Fp32Products, ADDED] = "tf32"
    """How a GPU multiplies where factors are generated: with 11 bits of precision at many times the rate, or
    with 24."""

    retired: ClassVar = {"engine": Retired("pack", hashed=True), "residual_rank": Retired(0)}

    @field_validator("task_gradients", mode="before")
    @classmethod
    def _weighting_is_there(cls, value: Any) -> Any:
        if value in _RETIRED_WEIGHTINGS:
            raise ValueError(has_left(f"task_gradients {value!r}"))
        return value

    @model_validator(mode="after")
    def _evaluations_fit_together(self) -> "TrainConfig":
        if self.evaluate == "last_epoch" and self.evaluate_every is not None:
            raise ValueError("evaluate_every is for evaluate 'every_epoch', not for 'last_epoch'")
        if self.evaluate == "last_epoch" and self.keep == "best_validation":
            raise ValueError("keep 'best_validation' chooses among evaluations; 'last_epoch' makes only one")
        if self.test_scores == "kept" and self.keep != "best_validation":
            raise ValueError("test_scores 'kept' needs keep 'best_validation', which chooses what is kept")
        return self

    @property
    def special_options(self) -> frozenset[str]:
        """Fields that only some methods take and that do not hold their defaults."""
        fields = type(self).model_fields
        return frozenset(name for name in _SPECIAL_OPTIONS if getattr(self, name) != fields[name].default)
