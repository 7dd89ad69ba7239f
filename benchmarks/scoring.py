"""Scoring every task's real rows, from text to log-likelihoods, against lm-eval and portallib's evaluator.

The base is in fp32, and where the CPU has it also in bf16: against both in bf16, against portallib in fp32,
its default on CPUs, and against the same in fp32.
"""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from portallib.data import ChoiceDataset, ChoiceExample
from portallib.evaluation import PortalBase, PortalEvaluator

from benchmarks.comparison import Comparison
from benchmarks.measure import ratio, take_turns
from benchmarks.sample import MAX_PROMPT, draw, task_names
from portal.bases.base import Base, load_base
from portal.bases.precision import cpu_has_bf16
from portal.config import Precision
from portal.data.token_rows import encode_example
from portal.evaluate.loglikelihood import Scored, score_rows
from portal.tasks.example import Example

ROWS_PER_TASK = 6
BATCH_SIZES = (1, 4, 8, 16, 32)
BF16_TARGET = 2.8
"""Of scoring in fp32 over that with the base in bf16."""
_BASE = "smollm2-135m"
_WITHIN: dict[Precision, float] = {"default": 1e-2, "bf16": 1.0}
"""Nats of a choice within which scores are equal; in bf16 lm-eval rounds its logits."""


def scoring() -> list[Comparison]:
    """lm-eval at the batch size at which it is fastest on these rows; portallib at its default of 8."""
    return _against_peers("default", _BASE)


def scoring_bf16() -> list[Comparison]:
    """The same with the base in bf16; nothing where the CPU would emulate that."""
    if not cpu_has_bf16():
        return []
    examples = draw("portal14", ROWS_PER_TASK, seed=0)
    sides: dict[str, Callable[[], object]] = {
        precision: partial(_ours, load_base(_BASE, precision=precision), examples)
        for precision in ("bf16", "default")
    }
    spent = take_turns(sides)
    what, gain = _what(examples, f"{_BASE} in bf16"), ratio(spent["bf16"], spent["default"])
    return [
        Comparison(what, "the same in fp32", BF16_TARGET, gain),
        *_against_peers("bf16", f"{_BASE} in bf16"),
    ]


def _what(examples: Sequence[Example], base: str) -> str:
    return f"scoring {len(task_names(examples))} tasks x {ROWS_PER_TASK} real rows, {base}"


def _against_peers(precision: Precision, name: str) -> list[Comparison]:
    base = load_base(_BASE, precision=precision)
    theirs = load_base(_BASE, precision=precision, operations="plain")
    examples = draw("portal14", ROWS_PER_TASK, seed=0)
    lm_eval = {size: _LmEval(theirs, examples, size) for size in BATCH_SIZES}
    for each in lm_eval.values():
        each.score()
    fastest = min(lm_eval, key=lambda size: lm_eval[size].spent_s)
    _check_equal(_ours(base, examples), lm_eval[fastest].score(), within=_WITHIN[precision])
    hflm = f"lm-eval HFLM, batch size {fastest}, the best of {', '.join(map(str, BATCH_SIZES))}"
    portallib = {"portallib's evaluator": _portallib(theirs, examples)}
    if precision != "default":
        in_fp32 = load_base(_BASE, operations="plain")
        portallib["portallib's evaluator in fp32 (its default on CPUs)"] = _portallib(in_fp32, examples)
    spent = take_turns({"ours": partial(_ours, base, examples), hflm: lm_eval[fastest].score, **portallib})
    targets = {hflm: 2.0, **dict.fromkeys(portallib, 3.0)}
    what = _what(examples, name)
    return [
        Comparison(what, against, target, ratio(spent["ours"], spent[against]))
        for against, target in targets.items()
    ]


def _portallib(base: Base, examples: Sequence[Example]) -> Callable[[], object]:
    """portallib's evaluator on this base at its default batch size."""
    evaluator = PortalEvaluator(max_prompt=MAX_PROMPT, batch_size=8)
    scored = PortalBase(base.name, base.model, base.tokenizer)
    choices = [ChoiceExample(e.task, e.prompt, e.choices, e.gold) for e in examples]
    return partial(evaluator.evaluate, scored, ChoiceDataset(choices, choices))


def _ours(base: Base, examples: Sequence[Example]) -> list[Scored]:
    rows = [encode_example(example, "test", base.tokenizer, max_prompt=MAX_PROMPT) for example in examples]
    return score_rows(base, rows)


class _LmEval:
    """HFLM on the same model object and the same strings."""

    def __init__(self, base: Base, examples: Sequence[Example], batch_size: int) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            self._model = HFLM(
                pretrained=base.model, tokenizer=base.tokenizer, batch_size=batch_size, prefix_token_id=0
            )
        self._pairs = [(example.prompt, choice) for example in examples for choice in example.choices]
        self.spent_s = 0.0

    def score(self) -> list[float]:
        """log P of every choice, in order."""
        started = time.perf_counter()
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in self._pairs]
        scores = [score for score, _ in self._model.loglikelihood(requests, disable_tqdm=True)]
        self.spent_s = time.perf_counter() - started
        return scores


def _check_equal(ours: Sequence[Scored], theirs: Sequence[float], *, within: float) -> None:
    """That both measured the same thing: rows whose prompt lm-eval splits elsewhere may differ."""
    own = torch.tensor([score for item in ours for score in item.scores])
    apart = (own - torch.tensor(theirs)).abs() > within
    assert apart.float().mean() < 0.05, f"{int(apart.sum())} of {len(own)} scores differ"
