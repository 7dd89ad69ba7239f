"""Attention masks, ready-made where they are known: transformers then builds none, nor waits for the device.

A model whose config lists kinds of layers takes one mask a kind, any other a single one; True: may be seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, masking_utils

from portal.bases.family import FULL, SLIDING, layer_kinds, takes_branches, window_of


def causal_masks(config: PretrainedConfig, length: int, device: torch.device) -> Any:
    """For rows of `length` tokens padded on the right: (1, 1, T, T), or None for plain causal attention.

    Fused kernels know the latter by themselves. A family whose masks are not known here makes its own.
    """
    if not takes_branches(config):
        return None
    window = window_of(config)
    near = None
    if window is not None and length > window:
        causal_TT = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        near = (causal_TT & causal_TT.triu(1 - window))[None, None]
    kinds = layer_kinds(config)
    return near if kinds is None else {kind: near if kind == SLIDING else None for kind in kinds}


@contextmanager
def one_sequence_a_row() -> Iterator[None]:
    """In the block transformers does not ask the device whether a row holds several sequences, which none
    does, or padding, of which it would warn.
    """
    find = masking_utils.find_packed_sequence_indices
    warn = PreTrainedModel.warn_if_padding_and_no_attention_mask
    masking_utils.find_packed_sequence_indices = lambda *_args, **_kwargs: None
    PreTrainedModel.warn_if_padding_and_no_attention_mask = lambda *_args, **_kwargs: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = find
        PreTrainedModel.warn_if_padding_and_no_attention_mask = warn


def branch_masks(config: PretrainedConfig, branch_NT: Tensor, positions_NT: Tensor) -> Any:
    """For packed rows (shared_prefix.py): a position sees the prompt and its own branch, (N, 1, T, T).

    A sliding window is measured in positions.
    """
    length = branch_NT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool, device=branch_NT.device).tril()
    same_NTT = branch_NT[:, :, None] == branch_NT[:, None, :]
    prefix_NTT = (branch_NT == 0)[:, None, :]
    full = (causal_TT & (same_NTT | prefix_NTT))[:, None]
    return masks_of(config, full, (positions_NT[:, :, None] - positions_NT[:, None, :])[:, None])


def masks_of(config: PretrainedConfig, full: Tensor, back: Tensor) -> Any:
    """The mask as a base of this config takes it; what is so far `back` is seen within a window only."""
    window, kinds = window_of(config), layer_kinds(config)
    near = full if window is None else full & (back < window)
    if kinds is None:
        return near
    return {FULL: full, SLIDING: near} if SLIDING in kinds else full
