"""`Pack`: learners that share bases, stepped together in the same forwards.

In a step every active learner takes one optimiser step. Row blocks of all learners run through a base in a
few length-bucketed forwards; parameters are disjoint, so every learner gets exactly its own gradient. A
learner whose loss or gradient is not finite leaves with its parameters as they were; the others go on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from portal.adapt import AdapterHooks, Segment, concatenate_slots, select_slots
from portal.bases import Base
from portal.batches import evaluation_rows
from portal.config import AdapterConfig
from portal.forward import SlotRows, slot_losses
from portal.hypernet import Factors
from portal.learner import Learner
from portal.peft_learner import PeftLearner
from portal.results import PREDICTIONS, TASK_FILE
from portal.rows import RowTable, eval_set_hash
from portal.score import Layout, Scored, lay_out, score_layout, summarise

EVALUATED_SPLITS = ("validation", "test")
FORWARD_COST_TOKENS = 256
"""Padded tokens whose arithmetic costs about as much as the launch of one more forward."""
MAX_FORWARD_TOKENS = 16384
"""Padded tokens of one training forward; more rows than that are split over several."""


@dataclass(frozen=True)
class Evaluation:
    """Result rows (results.RESULTS without `study`) and predictions of one learner at one epoch."""

    results: list[dict[str, Any]]
    predictions: pa.Table


class Pack:
    """Learners on the same bases. `rows` are by base name.

    ValueError when the rows use a token id that a base does not have, or are longer than it can read.
    """

    def __init__(
        self, bases: dict[str, Base], rows: dict[str, RowTable], learners: Sequence[Learner]
    ) -> None:
        self.learners = list(learners)
        self.failed: dict[str, str] = {}
        self._bases, self._rows = bases, rows
        for name, base in bases.items():
            rows[name].extent.check(name, base.text_config)
        self._layouts: dict[tuple[str, str, str, int], Layout] = {}
        self._hooks = {name: AdapterHooks(base.model, base.sites) for name, base in bases.items()}

    @property
    def active(self) -> list[Learner]:
        """Learners that have steps to take or evaluations to make."""
        return [
            learner for learner in self.learners if learner.run.key not in self.failed and not learner.done
        ]

    def due(self) -> list[tuple[Learner, int]]:
        """(learner, epoch) pairs to evaluate before the next step."""
        return [
            (learner, epoch)
            for learner in self.active
            for epoch in sorted({epoch for _, epoch in learner.owed()})
        ]

    def step(self) -> dict[str, float]:
        """One step of every active learner; the mean loss of each, by run key."""
        started = time.perf_counter()
        learners = [learner for learner in self.active if learner.step < learner.num_steps]
        assert not any(learner.owed() for learner in learners), "evaluate what is due before the next step"
        tokens = dict.fromkeys((learner.run.key for learner in learners), 0)
        losses: dict[str, list[float]] = {learner.run.key: [] for learner in learners}
        for base in self._bases:
            self._run_base(base, learners, tokens, losses)
        for learner in learners:
            if learner.run.key not in self.failed:
                self._update(learner)
        spent = time.perf_counter() - started
        total = sum(tokens.values()) or 1  # all learners may have failed
        for learner in learners:
            learner.wall_s += spent * tokens[learner.run.key] / total
        return {key: sum(values) / len(values) for key, values in losses.items() if values}

    def evaluate(self, learner: Learner, epoch: int) -> Evaluation:
        """Scores of the tasks that owe `epoch` now, on every base and split; marks them as scored.

        A score that is not finite fails the learner: the evaluation is then empty.
        """
        results: list[dict[str, Any]] = []
        predictions: list[dict[str, Any]] = []
        tasks = [task for task, owed in learner.owed() if owed == epoch]
        try:
            for base in learner.bases:
                with torch.no_grad():
                    factors = learner.factors(base)
                for task in tasks:
                    for split in EVALUATED_SPLITS:
                        scored = self._score(learner, base, factors, task, split)
                        results.append(_result_row(learner, base, epoch, split, scored))
                        predictions.extend(_prediction_rows(learner, epoch, split, scored))
        except FloatingPointError as error:
            self._fail(learner, str(error))
            return Evaluation([], PREDICTIONS.empty_table())
        learner.scored.update((task, epoch) for task in tasks)
        return Evaluation(results, pa.Table.from_pylist(predictions, schema=PREDICTIONS))

    def _run_base(
        self, base: str, learners: list[Learner], tokens: dict[str, int], losses: dict[str, list[float]]
    ) -> None:
        present = [
            learner for learner in learners if base in learner.bases and learner.run.key not in self.failed
        ]
        for learner in present:
            if isinstance(learner, PeftLearner):
                self._run_reference(base, learner, tokens, losses)
        members = [learner for learner in present if not isinstance(learner, PeftLearner)]
        graphs = [learner.factors(base) for learner in members]
        leaves = [_leaves(graph) for graph in graphs]
        slots = [slot for owner, learner in enumerate(members) for slot in learner.slot_rows(base, owner)]
        for forward in plan_forwards(slots):
            objectives = []
            segments, order = _segments(forward, members, leaves)
            with self._hooks[base].active(segments):
                loss_S = slot_losses(self._bases[base], order)
            for owner, learner in enumerate(members):
                places = [place for place, slot in enumerate(order) if slot.owner == owner]
                if not places:
                    continue
                own_S = loss_S[places]
                if not torch.isfinite(own_S).all():
                    bad = int((~torch.isfinite(own_S)).nonzero()[0, 0])
                    task = learner.tasks[order[places[bad]].slot]
                    self._fail(learner, f"the loss of task {task!r} on base {base!r} is {own_S[bad].item()}")
                    continue
                objectives.append(learner.objective(base, [order[place].slot for place in places], own_S))
                losses[learner.run.key].extend(own_S.tolist())
            if objectives:
                torch.stack(objectives).sum().backward()
        for learner, graph, leaf in zip(members, graphs, leaves, strict=True):
            if learner.run.key not in self.failed:
                learner.backward(base, graph, _gradients(leaf))
        for slot in slots:
            learner = members[slot.owner]
            tokens[learner.run.key] += slot.num_tokens
            learner.count(base, slot.num_tokens)

    def _run_reference(
        self, base: str, learner: PeftLearner, tokens: dict[str, int], losses: dict[str, list[float]]
    ) -> None:
        """A learner that brings its own forwards."""
        try:
            values, num_tokens = learner.train_round(learner.slot_rows(base, 0))
        except FloatingPointError as error:
            self._fail(learner, str(error))
            return
        losses[learner.run.key].extend(values)
        tokens[learner.run.key] += num_tokens
        learner.count(base, num_tokens)

    def _update(self, learner: Learner) -> None:
        try:
            learner.update()
        except FloatingPointError as error:
            self._fail(learner, str(error))
            return
        learner.step += 1

    def _fail(self, learner: Learner, cause: str) -> None:
        where = f"run {learner.run.key} ({learner.run.describe()}), step {learner.step}"
        self.failed.setdefault(learner.run.key, f"{where}: {cause}")

    def _score(self, learner: Learner, base: str, factors: Factors, task: str, split: str) -> list[Scored]:
        segments = []
        if learner.run.adapter is not None:
            own = select_slots(factors, [learner.tasks.index(task)])
            segments = [Segment(1, own, learner.run.adapter.scaling)]
        with self._hooks[base].active(segments):
            return score_layout(
                self._bases[base], self._layout(base, task, split, learner.run.data.eval_size)
            )

    def _layout(self, base: str, task: str, split: str, size: int) -> Layout:
        key = (base, task, split, size)
        if key not in self._layouts:
            self._layouts[key] = lay_out(evaluation_rows(self._rows[base].rows(task, split), size))
        return self._layouts[key]


def plan_forwards(slots: Sequence[SlotRows]) -> list[list[SlotRows]]:
    """The slots in few forwards of near-equal length: least padding plus launch cost.

    Rows with all their choices and rows with the gold one alone do not share a forward.
    """
    forwards = []
    for kind in (False, True):
        alike = [slot for slot in slots if (slot.choice_weight > 0) is kind]
        forwards.extend(_cut(alike))
    return forwards


def _cut(slots: Sequence[SlotRows]) -> list[list[SlotRows]]:
    if not slots:
        return []
    by_length = sorted(slots, key=lambda slot: (slot.length, slot.owner, slot.slot))
    sizes = [max(len(slot.rows) for slot in slots) * slot.length for slot in by_length]
    best = [0.0]
    cuts = [0]
    for end in range(1, len(by_length) + 1):
        costs = []
        for start in range(end):
            padded = (end - start) * sizes[end - 1]
            if padded <= MAX_FORWARD_TOKENS or end - start == 1:
                costs.append((best[start] + FORWARD_COST_TOKENS + padded, start))
        cost, start = min(costs)
        best.append(cost)
        cuts.append(start)
    forwards = []
    end = len(by_length)
    while end > 0:
        forwards.append(by_length[cuts[end] : end])
        end = cuts[end]
    return forwards[::-1]


def _segments(
    forward: list[SlotRows], members: list[Learner], leaves: list[Factors]
) -> tuple[list[Segment], list[SlotRows]]:
    """Adapter segments of a forward and its slots in their order: learners of one shape together."""
    by_shape: dict[AdapterConfig, list[int]] = {}
    for owner in sorted({slot.owner for slot in forward}):
        adapter = members[owner].run.adapter
        assert adapter is not None, "a learner that trains has adapters"
        by_shape.setdefault(adapter, []).append(owner)
    segments: list[Segment] = []
    order: list[SlotRows] = []
    for adapter, owners in by_shape.items():
        parts = []
        for owner in owners:
            own = sorted((slot for slot in forward if slot.owner == owner), key=lambda slot: slot.slot)
            parts.append(select_slots(leaves[owner], [slot.slot for slot in own]))
            order.extend(own)
        joined = concatenate_slots(parts)
        segments.append(Segment(len(next(iter(joined.values()))[0]), joined, adapter.scaling))
    return segments, order


def _leaves(graph: Factors) -> Factors:
    """Detached copies of the factors that collect gradients over several forwards."""
    return {
        group: (a.detach().requires_grad_(), b.detach().requires_grad_()) for group, (a, b) in graph.items()
    }


def _gradients(leaves: Factors) -> dict[Any, tuple[Tensor, Tensor]]:
    return {group: (_gradient(a), _gradient(b)) for group, (a, b) in leaves.items()}


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _result_row(learner: Learner, base: str, epoch: int, split: str, scored: list[Scored]) -> dict[str, Any]:
    run, summary = learner.run, summarise(scored)
    trains = run.train is not None
    return {
        "run": run.key,
        "method": run.method,
        "label": run.method,
        "sources": list(run.source_bases) if run.source_bases else None,
        "base": base,
        "base_revision": learner.bases[base].revision,
        "modules": ",".join(run.adapter.modules) if run.adapter else None,
        "rank": run.adapter.rank if run.adapter else None,
        "size": learner.size if trains else None,
        "seed": run.seed,
        "task": scored[0].row.task,
        "epoch": epoch,
        "split": split,
        "prompt_set": TASK_FILE if scored[0].row.task in run.data.files else run.data.prompt_set,
        "eval_set": eval_set_hash(item.row for item in scored),
        "num_examples": summary.num_examples,
        "chance": summary.chance,
        "acc": summary.acc,
        "acc_norm": summary.acc_norm["chars"],
        "acc_norm_unit": "chars",
        "acc_norm_bytes": summary.acc_norm["bytes"],
        "acc_norm_tokens": summary.acc_norm["tokens"],
        "acc_norm_lm_eval": summary.acc_norm["lm-eval"],
        "ties": summary.ties,
        "log_loss": summary.log_loss,
        "gold_tokens": summary.gold_tokens,
        "train_tokens": learner.train_tokens if trains else None,
        "train_flops": learner.train_flops if trains else None,
        "trained_params": learner.num_trained_params if trains else None,
        "wall_s": learner.wall_s if trains else None,
        "norm_ratio": learner.norm_ratio(scored[0].row.task),
        "device": learner.bases[base].device.type,
    }


def _prediction_rows(learner: Learner, epoch: int, split: str, scored: list[Scored]) -> list[dict[str, Any]]:
    return [
        {
            "run": learner.run.key,
            "task": item.row.task,
            "epoch": epoch,
            "split": split,
            "example": item.row.id,
            "cluster": item.row.cluster,
            "scores": item.scores,
            "chars": item.row.chars,
            "bytes": item.row.bytes,
            "tokens": item.row.scored_tokens,
            "lm_eval_chars": item.row.lm_eval_chars,
            "gold": item.row.gold,
        }
        for item in scored
    ]
