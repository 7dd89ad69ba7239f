"""Log-probabilities of answer tokens: the output head at few positions, in fp32, so many logits at a time.

Shape letters: N rows, T positions, P kept positions, K reads, H hidden width, V vocabulary, S a slice of it.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from portal.bases.sites import find_layer_path
from portal.device import to_device
from portal.forward.attention_masks import one_sequence_a_row

CHUNK_LOGITS = 2**28
"""Logits that the head makes at a time: 1 GiB in fp32, 1,024 positions of a vocabulary of 262,144."""
SLICE_COLUMNS = 2**13
"""Tokens of the vocabulary whose logits a CPU makes at a time where none are kept for gradients.

Its caches hold those of a hundred positions. More go to memory and back several times, in pages that the
kernel clears first. Half as many columns take 0.8 to 1.1 times as long, for 48 to 400 positions."""
_HEAD_POSITIONS = 8
"""A thread that the output head gets at least: with fewer than four, MKL sums in another order."""


def token_log_probs(
    model: Any, ids_NT: Tensor, kept_P: Tensor, read_K: Tensor, token_K: Tensor, **masks: Any
) -> Tensor:
    """log P of the tokens `token_K`, (K,), fp32: the k-th is predicted at position `kept_P[read_K[k]]`.

    `kept_P` are indices into the flattened (N, T) positions. They, `read_K` and `token_K` are on the CPU; the
    result is where `ids_NT` is. Logits are fp32 from the head's product on, whatever the precision of the
    base: rounded to bf16, those of two answers are often equal. transformers' own `logits_to_keep` would take
    a mask, whose size the host has to ask the device for.
    """
    head = model.get_output_embeddings()
    if ids_NT.device.type == "cpu" and _takes_slices(head):
        return _by_slices(model, ids_NT, kept_P, read_K, token_K, **masks)
    size = positions_at_once(head.weight.shape[0])
    chunks = kept_P.split(size)
    parts, places = [], []
    with closing(_logits(model, ids_NT, [(chunk, _ALL) for chunk in chunks], **masks)) as logits:
        if len(chunks) == 1:
            return _read(next(logits).log_softmax(dim=-1), read_K, token_K)
        for number in range(len(chunks)):
            log_probs_PV = next(logits).log_softmax(dim=-1)
            place_K = (read_K // size == number).nonzero()[:, 0]
            parts.append(_read(log_probs_PV, read_K[place_K] - number * size, token_K[place_K]))
            places.append(place_K)
            del log_probs_PV  # the next chunk's logits take its place
    return torch.cat(parts).index_select(0, to_device(torch.cat(places).argsort(), parts[0].device))


def position_logits(model: Any, ids_NT: Tensor, kept_P: Tensor, **inputs: Any) -> Tensor:
    """The logits at `kept_P`, (P, V), fp32; indices into the flattened (N, T) positions, on the CPU.

    `inputs` are further ones of the model's forward, such as a cache and `use_cache`.
    """
    (logits_PV,) = _logits(model, ids_NT, [(kept_P, _ALL)], **inputs)
    return logits_PV


def positions_at_once(vocabulary: int) -> int:
    """Positions whose logits are made at a time."""
    return max(1, CHUNK_LOGITS // vocabulary)


_ALL = slice(None)
"""Columns of the whole vocabulary."""


def _takes_slices(head: nn.Module) -> bool:
    """Whether the vocabulary is divided where logits are made on a CPU: gradients would want them all."""
    if torch.is_grad_enabled() or type(head) is not nn.Linear or type(head.weight) is not nn.Parameter:
        return False
    return head.weight.is_floating_point() and len(head.weight) > SLICE_COLUMNS


def _by_slices(
    model: Any, ids_NT: Tensor, kept_P: Tensor, read_K: Tensor, token_K: Tensor, **masks: Any
) -> Tensor:
    """`token_log_probs` from slices of the vocabulary: their largest logits, and sums of exponentials."""
    starts = range(0, len(model.get_output_embeddings().weight), SLICE_COLUMNS)
    chunks = [(kept_P[:0], _ALL), *((kept_P, slice(start, start + SLICE_COLUMNS)) for start in starts)]
    largest_P = torch.full((len(kept_P),), torch.finfo(torch.float32).min)
    total_P = torch.zeros(len(kept_P))
    logit_K = torch.full((len(token_K),), torch.nan)
    with closing(_logits(model, ids_NT, chunks, **masks)) as logits:
        vocabulary = next(logits).shape[1]  # less than the head's where the model drops its padding
        for start in starts:
            if start >= vocabulary:
                break
            logits_PS = next(logits)[:, : vocabulary - start]
            here_K = ((token_K >= start) & (token_K < start + logits_PS.shape[1])).nonzero()[:, 0]
            logit_K[here_K] = logits_PS[read_K[here_K], token_K[here_K] - start]
            most_P = torch.maximum(largest_P, logits_PS.amax(dim=-1))
            added_P = logits_PS.sub_(most_P[:, None]).exp_().sum(dim=-1)
            total_P = total_P.mul_((largest_P - most_P).exp_()).add_(added_P)
            largest_P = most_P
            del logits_PS
    return logit_K - (largest_P + total_P.log_())[read_K]


def _read(log_probs_PV: Tensor, read_K: Tensor, token_K: Tensor) -> Tensor:
    device = log_probs_PV.device
    return log_probs_PV[to_device(read_K, device), to_device(token_K, device)]


def _logits(
    model: Any, ids_NT: Tensor, chunks: Sequence[tuple[Tensor, slice]], **inputs: Any
) -> Generator[Tensor]:
    """The logits of each chunk, (kept positions, columns), fp32, from one forward through the layers.

    Nothing here holds a chunk while the next one is made.
    """
    body = model.base_model
    if body is model:  # a model that takes itself for its own body: what holds the layers is
        body = model.get_submodule(find_layer_path(model).rpartition(".")[0])
    outputs: list[Any] = []
    patched = vars(body).get("forward")  # of who places a base's parts on several devices
    captured = body.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        for number, (kept_P, columns) in enumerate(chunks):
            if number == 1:  # from here on the layers' output is known: only what follows them runs again
                captured.remove()
                body.forward = lambda *_args, **_kwargs: outputs[0]
            head = model.get_output_embeddings()
            with _head_at(head, kept_P, columns, ids_NT.device), one_sequence_a_row():
                logits_1PV = model(
                    input_ids=ids_NT, logits_to_keep=0, **{"use_cache": False, **inputs}
                ).logits
            logits_PV = logits_1PV[0, : len(kept_P)].float()
            del logits_1PV
            yield logits_PV
            del logits_PV
    finally:
        captured.remove()
        if patched is None:
            vars(body).pop("forward", None)
        else:
            body.forward = patched


@contextmanager
def _head_at(head: nn.Module, kept_P: Tensor, columns: slice, device: torch.device) -> Iterator[None]:
    """Within the block the head sees the kept positions only and gives these columns, in fp32."""
    fewest = _HEAD_POSITIONS * torch.get_num_threads() if device.type == "cpu" else 0
    if 0 < len(kept_P) < fewest:
        kept_P = torch.cat([kept_P, kept_P.new_zeros(fewest - len(kept_P))])
    hidden: list[Tensor] = []
    has_own_product = columns == _ALL and not _is_half(head)

    def keep(_head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden_NTH,) = args
        index_P = to_device(kept_P, hidden_NTH.device)  # that of the last layers, where a base has several
        hidden_PH = hidden_NTH.flatten(0, 1).index_select(0, index_P)
        if has_own_product:
            return (hidden_PH[None],)
        hidden.append(hidden_PH)
        return (hidden_PH[None, :0],)  # the head's own product is not used: that of no position costs nothing

    def multiply(_head: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output if has_own_product else _product(hidden.pop(), head, columns)[None]

    handles = [head.register_forward_pre_hook(keep), head.register_forward_hook(multiply)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_half(head: nn.Module) -> bool:
    return isinstance(head, nn.Linear) and head.weight.dtype in (torch.bfloat16, torch.float16)


def _product(hidden_PH: Tensor, head: nn.Module, columns: slice = _ALL) -> Tensor:
    """These columns of the head's product, in fp32."""
    assert isinstance(head, nn.Linear)
    weight_SH, bias_S = head.weight[columns], None if head.bias is None else head.bias[columns]
    if not _is_half(head):
        return nn.functional.linear(hidden_PH, weight_SH, bias_S)
    product: Callable[..., Tensor] = _WideProduct.apply
    logits_PS = product(hidden_PH.to(weight_SH.device), weight_SH)
    return logits_PS if bias_S is None else logits_PS + bias_S.float()


class _WideProduct(torch.autograd.Function):
    """hidden W^T of half-precision operands, summed and returned in fp32; W is frozen.

    A CPU has no such product. There it is the rounded one plus what the rounding left: the second product
    starts from minus the first, and the sum is rounded only at the end. 16 bits of a logit are right, against
    8 of the rounded product, for two thirds of the time of a product in fp32.
    """

    @staticmethod
    def forward(ctx: Any, hidden_PH: Tensor, weight_VH: Tensor) -> Tensor:
        ctx.save_for_backward(weight_VH)
        if hidden_PH.device.type != "cpu":
            return torch.mm(hidden_PH, weight_VH.T, out_dtype=torch.float32)
        rounded_PV = torch.mm(hidden_PH, weight_VH.T)
        return rounded_PV.float().add_(torch.addmm(rounded_PV, hidden_PH, weight_VH.T, beta=-1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient_PV,), (weight_VH,) = gradients, ctx.saved_tensors
        return gradient_PV.to(weight_VH.dtype) @ weight_VH, None
