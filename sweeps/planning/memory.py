"""Memory of a pack on a base, predicted from shapes: no weights are read and nothing is run.

What a forward keeps for its backward is counted, not modelled: the base is built on torch's meta device, run
once with adapters, and every tensor that autograd saves is added up. Attention by fused
kernels is counted as they do it, without the T x T matrices. All sizes are bytes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.pytorch_utils import Conv1D

from portal.bases.base import QUANTISED_BYTES, divide, idle_params, part_bytes
from portal.bases.family import attention_implementation, model_class, outline_config
from portal.bases.operations import Operations, fuse_operations, usual_operations
from portal.bases.precision import weights_dtype
from portal.bases.sites import SiteGroup, find_layer_path, find_sites, group_sites
from portal.config import Activations, AdapterConfig, Precision, RunConfig
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.attention_masks import causal_masks, one_sequence_a_row
from portal.forward.output_head import positions_at_once
from portal.hypernet import Factors, converter_num_params, core_num_params
from portal.modules import ALL_MODULES

_FP32 = 4
_TRAINED = 4 * _FP32  # a parameter, its gradient, and AdamW's two moments
_FACTORS = 5 * _FP32  # a factor, its leaf, what the hooks cast or scale, its gradient, and the sum of those
_LOGIT_COPIES = 3  # fp32 logits, log-probabilities and their gradient, beside what autograd keeps
_LENGTH = 65  # of rows whose kept values are counted; odd
_SCORED_COPIES = 2  # without a gradient, logits and log-probabilities

_OfModel = tuple[torch.dtype, Operations, bool]
"""The precision of a base's values in a forward, what it computes them with, and whether its products keep
what they read: those of 8-bit bases do, also where a layer is recomputed."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a pack: `fixed` at every moment, `per_token` for each padded token in a forward."""

    base: float
    learners: float
    per_token: float
    per_answer_token: float
    answers_at_once: int  # whose logits scoring makes at a time

    @property
    def fixed(self) -> float:
        return self.base + self.learners

    def peak(self, tokens: int, answer_tokens: int) -> float:
        """Bytes during a forward of so many padded tokens, of which so many are predicted answers."""
        return self.fixed + self.per_token * tokens + self.per_answer_token * answer_tokens

    def scoring(self, answer_tokens: float) -> float:
        """Bytes of the logits of a scoring forward with so many answer tokens; a part of them is there."""
        scored = self.per_answer_token * _SCORED_COPIES / _LOGIT_COPIES
        return scored * min(answer_tokens, self.answers_at_once)

    def tokens_that_fit(self, budget: float, answer_share: float) -> int:
        """Padded tokens of one forward within `budget`; 0 or less when not even the fixed part fits."""
        return int((budget - self.fixed) / (self.per_token + answer_share * self.per_answer_token))


def footprint(
    runs: Iterable[RunConfig],
    base: str,
    *,
    length: int,
    on_gpu: bool,
    activations: Activations = "keep",
    num_gpus: int = 1,
) -> Footprint:
    """Bytes that a pack of `runs` takes on `base` with rows of `length` tokens.

    Where the base is divided over several GPUs, at most so many are on any of them.
    """
    runs = list(runs)
    shapes = {run.adapter: run for run in runs if run.adapter is not None and run.train is not None}
    widest = max(shapes, key=_width, default=None)
    vocabulary = _measure_base(base).vocabulary
    precision = precision_of(runs, base)
    dtype = weights_dtype(precision, on_gpu=on_gpu)
    of_model = dtype, usual_operations(dtype, on_gpu=on_gpu), precision == "8bit"
    part = fullest_part(base, precision, on_gpu=on_gpu, num_gpus=num_gpus)
    return Footprint(
        base=part.num_bytes,
        learners=sum(_learner_bytes(run, base) for run in runs),
        per_token=0.0
        if widest is None
        else part.layers * _bytes_per_token(base, widest, length | 1, of_model, activations),
        per_answer_token=vocabulary * _FP32 * _LOGIT_COPIES,
        answers_at_once=positions_at_once(vocabulary),
    )


def kept_values_per_token(runs: Sequence[RunConfig], base: str) -> float:
    """Values of the base's precision that a CPU keeps per token of a forward for its backward.

    They are as many as norms, activations, attention and adapters read and write, up to a factor. Without
    adapters nothing is kept: there, small ones on all modules stand for what is computed all the same.
    """
    none = AdapterConfig(modules=ALL_MODULES, rank=1)
    widest = max((run.adapter for run in runs if run.adapter is not None), key=_width, default=none)
    dtype = weights_dtype(precision_of(runs, base), on_gpu=False)
    of_model = dtype, usual_operations(dtype, on_gpu=False), False
    return _saved_bytes_per_token(base, widest, _LENGTH, of_model, "keep") / dtype.itemsize


def _width(adapter: AdapterConfig) -> tuple[int, int]:
    return len(adapter.modules), adapter.rank


def precision_of(runs: Iterable[RunConfig], base: str) -> Precision:
    """The precision of the base in a pack of these runs."""
    return next(ref.precision for run in runs for ref in run.bases if ref.name == base)


def base_bytes(base: str, precision: Precision, *, on_gpu: bool) -> float:
    """Bytes of a base's weights, from its config."""
    itself = _measure_base(base)
    each = weights_dtype(precision, on_gpu=on_gpu).itemsize
    others = itself.num_params - itself.linear_params  # embeddings, head and experts, which are not quantised
    return itself.linear_params * QUANTISED_BYTES.get(precision, each) + others * each


class BasePart(NamedTuple):
    """What the fullest GPU has of a base: bytes of its weights, and the most layers, as a share of all."""

    num_bytes: float
    layers: float


@lru_cache(maxsize=256)
def fullest_part(base: str, precision: Precision, *, on_gpu: bool, num_gpus: int) -> BasePart:
    """The largest part of a base that is divided over so many GPUs; ValueError where it cannot be."""
    if num_gpus == 1:
        return BasePart(base_bytes(base, precision, on_gpu=on_gpu), 1.0)
    model, dtype = _meta_model(base, torch.float32), weights_dtype(precision, on_gpu=on_gpu)
    try:
        places = divide(model, num_gpus, precision, dtype)
    except ValueError as error:
        raise ValueError(f"base {base!r}: {error}") from None
    path = find_layer_path(model)
    layers = Counter(gpu for name, gpu in places.items() if name.startswith(f"{path}."))
    return BasePart(max(part_bytes(model, places, precision, dtype)), max(layers.values()) / layers.total())


class DecoderShape(NamedTuple):
    """Layers of a base, parameters of them all, hidden values of a token, tokens of the vocabulary, and the
    parameters that a token meets: of a mixture's experts it meets a few.
    """

    layers: int
    params: int
    width: int
    vocabulary: int
    active_params: int


def decoder_shape(base: str) -> DecoderShape:
    """What the base's config says of its layers."""
    itself = _measure_base(base)
    return DecoderShape(
        itself.num_layers, itself.decoder_params, itself.width, itself.vocabulary, itself.active_params
    )


def generation_flops(run: RunConfig, base: str) -> float:
    """FLOPs of generating the factors of all tasks on `base` once, from heads and projections; 0 without."""
    if run.hypernet is None or run.adapter is None:
        return 0.0
    each = sum(
        len(group.layers) * (2 * run.hypernet.hidden + group.d_in + group.d_out)
        for group in _groups(base, run.adapter)
    )
    return 2.0 * len(run.data.tasks) * run.adapter.rank * run.hypernet.d_core * each


@dataclass(frozen=True)
class _Measured:
    num_params: int
    decoder_params: int
    active_params: int
    linear_params: int  # of these, the weights of linear layers
    num_layers: int
    width: int
    vocabulary: int
    sites: tuple[Any, ...]


@lru_cache(maxsize=64)
def _measure_base(base: str) -> _Measured:
    model = _meta_model(base, torch.float32)
    text = model.config.get_text_config()
    unique = {id(parameter): parameter.numel() for parameter in model.parameters()}
    path = find_layer_path(model)
    layers = model.get_submodule(path)
    in_layers = sum(parameter.numel() for parameter in layers.parameters())
    return _Measured(
        sum(unique.values()),
        in_layers,
        in_layers - idle_params(layers, text),
        sum(each.weight.numel() for each in layers.modules() if isinstance(each, nn.Linear | Conv1D)),
        len(layers),
        text.hidden_size,
        text.vocab_size,
        find_sites(model, path),
    )


@lru_cache(maxsize=1024)
def _groups(base: str, adapter: AdapterConfig | None) -> tuple[SiteGroup, ...]:
    return () if adapter is None else group_sites(_measure_base(base).sites, adapter.modules)


def _meta_model(base: str, dtype: torch.dtype, operations: Operations = "plain") -> Any:
    config = outline_config(base)
    with torch.device("meta"):
        model = model_class(config).from_config(
            config, trust_remote_code=False, dtype=dtype, attn_implementation=attention_implementation(config)
        )
    if operations == "fused":
        fuse_operations(model)
    return model.requires_grad_(False).eval()


@dataclass(frozen=True)
class ParamCount:
    """Numbers that a run trains on one base, and those that it only holds and writes into its artifact."""

    trained: int
    held: int


def count_params(run: RunConfig, base: str) -> ParamCount:
    """Count the run's numbers on `base`; joint training counts latents and core with each base."""
    if run.adapter is None:
        return ParamCount(0, 0)
    slots = len(run.data.tasks)
    if run.train is None:
        return ParamCount(0, slots * _slot_params(run, base))
    if run.hypernet is None:
        return ParamCount((1 if run.spec.shared_adapter else slots) * _slot_params(run, base), 0)
    groups = _groups(base, run.adapter)
    converter = converter_num_params(run.hypernet, groups, _measure_base(base).num_layers)
    core = core_num_params(run.hypernet, run.adapter)
    latents = slots * run.hypernet.d_latent
    if run.spec.teaches:
        return ParamCount(latents, core + converter)
    shared = core + latents
    return ParamCount(converter, shared) if run.spec.frozen_core else ParamCount(converter + shared, 0)


def shared_params(run: RunConfig) -> int:
    """The numbers that joint training counts with each base and has once: core and latents."""
    if run.hypernet is None or run.adapter is None or run.train is None or len(run.bases) == 1:
        return 0
    return len(run.data.tasks) * run.hypernet.d_latent + core_num_params(run.hypernet, run.adapter)


def _slot_params(run: RunConfig, base: str) -> int:
    """Numbers of one task's adapter."""
    assert run.adapter is not None
    groups = _groups(base, run.adapter)
    return run.adapter.rank * sum(len(group.layers) * (group.d_in + group.d_out) for group in groups)


def _learner_bytes(run: RunConfig, base: str) -> float:
    """Bytes of parameters, optimiser state, and all tasks' factors with the graph that makes them."""
    params, slots = count_params(run, base), len(run.data.tasks)
    kept = run.train is not None and run.train.keep == "best_validation"
    own = params.trained * (_TRAINED + kept * _FP32) + params.held * _FP32
    if run.adapter is None or run.train is None:
        return own
    factors = slots * _slot_params(run, base) * _FACTORS
    if run.hypernet is None:
        return own + factors
    groups = _groups(base, run.adapter)
    heads = 2 * sum(len(group.layers) for group in groups) * run.adapter.rank * run.hypernet.d_core
    trunk = _measure_base(base).num_layers * 8 * run.hypernet.hidden
    graph = slots * (2 * heads + trunk) * _FP32  # values and their gradients
    return own + factors + graph


def _bytes_per_token(
    base: str, adapter: AdapterConfig, length: int, of_model: _OfModel, activations: Activations
) -> float:
    """Bytes per token of a forward until its backward; recomputed, one layer at a time is kept whole."""
    kept = _saved_bytes_per_token(base, adapter, length, of_model, "keep")
    if activations == "keep":
        return kept
    layers = _measure_base(base).num_layers
    return _saved_bytes_per_token(base, adapter, length, of_model, "recompute") + kept / layers


@lru_cache(maxsize=1024)
def _saved_bytes_per_token(
    base: str, adapter: AdapterConfig, length: int, of_model: _OfModel, activations: Activations
) -> float:
    """Bytes that autograd keeps per token in rows of `length` tokens, without logits and parameters.

    The length is odd, so that no width of the base is taken for it.
    """
    dtype, operations, keeps_inputs = of_model
    model = _meta_model(base, dtype, operations)
    scale = 1.0
    if dtype == torch.float32 and any(type(each).__name__.endswith("Experts") for each in model.modules()):
        # Products of all experts at once have no shapes on the meta device but in bf16.
        model, scale = _meta_model(base, torch.bfloat16, operations), 2.0
    path = find_layer_path(model)
    sites = find_sites(model, path)
    groups = group_sites(sites, adapter.modules)
    layers = [f"{path}.{index}" for index in range(len(model.get_submodule(path)))]
    hooks = AdapterHooks(model, sites, recomputed=layers if activations == "recompute" else ())
    segment = Segment(1, _meta_factors(groups, adapter.rank), adapter.scaling)
    kept_inputs = [model.get_submodule(site.path) for site in sites] if keeps_inputs else []
    few, many = (_saved_by(model, hooks, segment, rows, length, kept_inputs) for rows in (1, 2))
    # What does not grow with the rows, factors above all, is counted elsewhere.
    return scale * (many - few) / length


def _saved_by(
    model: Any, hooks: AdapterHooks, segment: Segment, rows: int, length: int, kept_inputs: list[nn.Module]
) -> float:
    """Bytes that autograd keeps, and what these modules read."""
    saved: dict[int, int] = {}
    read: list[Tensor] = []  # kept, so that no other tensor has the number of one
    is_fused = model.config._attn_implementation == "sdpa"

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        is_attention = is_fused and tensor.ndim > 2 and tensor.shape[-2:] == (length, length)
        if not is_attention:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    def keep_input(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        read.append(keep(args[0]))

    device = torch.device("meta")
    ids_NT = torch.zeros(rows, length, dtype=torch.long, device=device)
    no_logits = torch.zeros(0, dtype=torch.long, device=device)  # they are counted apart
    masks = causal_masks(model.config.get_text_config(), length, device)
    with ExitStack() as stack:
        for module in kept_inputs:
            stack.callback(module.register_forward_pre_hook(keep_input).remove)
        stack.enter_context(saved_tensors_hooks(keep, lambda tensor: tensor))
        stack.enter_context(hooks.active([segment]))
        stack.enter_context(one_sequence_a_row())
        model(input_ids=ids_NT, logits_to_keep=no_logits, use_cache=False, attention_mask=masks)
    return sum(saved.values())


def _meta_factors(groups: tuple[SiteGroup, ...], rank: int) -> Factors:
    """One slot of factors that want gradients."""
    return {
        group: (
            torch.zeros(1, len(group.layers), rank, group.d_in, device="meta", requires_grad=True),
            torch.zeros(1, len(group.layers), group.d_out, rank, device="meta", requires_grad=True),
        )
        for group in groups
    }
