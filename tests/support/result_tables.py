"""A builder of result folders through the real schemas: studies with known numbers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from analysis.stats.bootstrap import Chosen, Interval
from analysis.stats.findings import Target, find_target
from analysis.stats.published import PUBLISHED
from analysis.stats.result_table import Cell, Cost, ResultSet, Run, gather_runs
from analysis.tables.table import Table
from portal.results import ACC_NORM, ADDED_COLUMNS, PREDICTIONS, RESULTS, AbsentRun, StudyInfo, write_table

TASKS = ("capital", "pronoun", "yes-no")
_Value = TypeVar("_Value")


def known(value: _Value | None) -> _Value:
    """The value, which has to be there."""
    assert value is not None
    return value


def limits(interval: Interval | None) -> tuple[float, float]:
    """The limits of an interval that has some."""
    return known(known(interval).low), known(known(interval).high)


def shown(table: Table | None) -> list[dict[str, str]]:
    """The lines of a table as a reader sees them, by column."""
    there = known(table)
    return [dict(zip(there.names, texts, strict=True)) for texts in there.texts]


def row(**values: object) -> dict:
    """One result row; what is not given has a plain value."""
    plain = {
        "run": "r0", "study": "synthetic", "method": "base", "sources": None, "base": "big",
        "base_revision": "1", "modules": None, "rank": None, "size": None, "seed": None, "task": "capital",
        "epoch": 0, "split": "test", "prompt_set": "plain", "num_examples": 100, "chance": 0.25,
        "majority": None, "acc": 0.5,
        "acc_norm": 0.5, "acc_norm_unit": "chars", "log_loss": 1.0, "gold_tokens": 100, "train_tokens": None,
        "train_flops": None, "trained_params": None, "wall_s": None, "device": "cpu",
        "calibrated": None, "kept": None, "train_rows": None, "keeps_best": None,
        "choices_together": None, "unended": None,
    }  # fmt: skip
    assert set(values) <= set(plain) | {"eval_set", "label", "metric", "score"}, values
    line = {**plain, **values}
    line.setdefault("label", line["method"])
    line.setdefault("eval_set", hashlib.sha256(f"{line['task']} {line['split']}".encode()).hexdigest())
    return line


def to_table(rows: list[dict]) -> pa.Table:
    """Rows of tasks with choices, whose score is acc_norm, unless they say otherwise."""
    scored = [{"metric": ACC_NORM, "score": each["acc_norm"], **each} for each in rows]
    return pa.Table.from_pylist(scored, schema=RESULTS)


def study_of(rows: list[dict]) -> ResultSet:
    return gather_runs(to_table(rows))


def as_of_version(table: pa.Table, version: int) -> pa.Table:
    """The table as that schema version wrote it."""
    later = [
        name for name in table.column_names if name in ADDED_COLUMNS and ADDED_COLUMNS[name].since > version
    ]
    return table.drop_columns(later).replace_schema_metadata(
        {b"portal_schema_version": str(version).encode()}
    )


def target_of(
    rows: list[dict], base: str = "big", *absent: AbsentRun, kinds: Mapping[str, str] | None = None
) -> Target:
    """The findings on one base of a study without predictions; its files are named after the base."""
    study = replace(gather_runs(to_table(rows)), kinds=kinds or {})
    return find_target(study, base, slug=base, info=StudyInfo(missing=absent))


@dataclass
class StudyBuilder:
    """Result and prediction rows of a study in which each run answers at a known rate.

    Documents come in pairs that share a cluster. A document has a difficulty; a run answers it rightly when
    its rate is above that, but for some noise of its own, so runs agree as real ones do.
    """

    tasks: tuple[str, ...] = TASKS
    num_examples: int = 120
    with_predictions: bool = True
    rows: list[dict] = field(default_factory=list)
    predictions: list[dict] = field(default_factory=list)

    def add(
        self,
        method: str,
        *,
        base: str = "big",
        seed: int | None = None,
        size: int | None = None,
        rates: tuple[float, ...] = (0.6,),
        **values: object,
    ) -> str:
        """Adds a run with one rate for each epoch (from 1 on, or epoch 0 of a base); its key."""
        text = f"{method} {base} {seed} {size} {rates} {sorted(values.items())}"
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        generator = np.random.default_rng(int(key, 16) % 2**32)
        first = 0 if method == "base" else 1
        for epoch, rate in enumerate(rates, start=first):
            for task in self.tasks:
                for split in ("validation", "test"):
                    self._score(key, generator, rate, task, split, epoch, method, base, seed, size, values)
        return key

    def _score(self, key, generator, rate, task, split, epoch, method, base, seed, size, values) -> None:
        difficulty = np.random.default_rng(sum(map(ord, task + split))).random(self.num_examples)
        right = difficulty + generator.normal(0, 0.05, self.num_examples) < rate
        trains = method != "base"
        work = epoch * (size or 0)
        self.rows.append(
            row(
                run=key, method=method, base=base, seed=seed, size=size, task=task, epoch=epoch, split=split,
                modules="q,v" if trains else None, rank=8 if trains else None,
                sources=["small", "tiny"] if method in ("portal", "source") else None,
                majority=0.525 if task == "yes-no" else None, num_examples=self.num_examples,
                acc=float(right.mean()), acc_norm=float(right.mean()),
                log_loss=float(np.where(right, 4.0, 9.0).mean()), train_tokens=125 * work if trains else None,
                train_flops=1.25e8 * work if trains else None, trained_params=5000 if trains else None,
                wall_s=0.3125 * work if trains else None, **values,
            )
        )  # fmt: skip
        if not self.with_predictions:
            return
        for place in range(self.num_examples):
            gold = place % 4
            scores = [-9.0, -9.0, -9.0, -9.0]
            scores[gold if right[place] else (gold + 1) % 4] = -4.0
            self.predictions.append(
                {
                    "run": key, "task": task, "epoch": epoch, "split": split, "example": f"{place:04d}",
                    "cluster": f"c{place // 2:04d}", "scores": scores, "chars": [5] * 4, "bytes": [5] * 4,
                    "tokens": [1] * 4, "gold": gold,
                }
            )  # fmt: skip

    def results_table(self) -> pa.Table:
        return to_table(self.rows)

    def study(self) -> ResultSet:
        return gather_runs(self.results_table())

    def predictions_table(self) -> pa.Table:
        return pa.Table.from_pylist(self.predictions, schema=PREDICTIONS)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(self.results_table(), folder / "results.parquet")
        if self.with_predictions:
            write_table(self.predictions_table(), folder / "predictions.parquet")
        return folder


def fill_demo(builder: StudyBuilder) -> StudyBuilder:
    """A study like `demo-eleven`: two targets, four methods, three seeds; six sizes of two of them on one."""
    for base, floor, ceiling in (("mini-qwen3-m", 0.38, 0.80), ("mini-gemma3", 0.35, 0.74)):
        rise = ceiling - floor
        builder.add("base", base=base, rates=(floor,))
        for seed in range(3):
            wobble = 0.01 * (seed - 1)
            for method, share in (("lora", 1.0), ("hypernet", 0.93), ("portal", 0.9)):
                best = floor + share * rise + wobble
                builder.add(method, base=base, seed=seed, size=256, rates=(best - 0.1, best, best - 0.02))
    for place, size in enumerate((8, 16, 32, 64, 128)):
        for seed in range(3):
            wobble = 0.01 * (seed - 1)
            for method, start in (("lora", 0.40), ("portal", 0.55)):
                rate = start + (0.78 - start) * (place + 1) / 6 + wobble
                builder.add(method, base="mini-qwen3-m", seed=seed, size=size, rates=(rate,))
    for seed in range(3):
        for base in ("mini-qwen3-xs", "mini-qwen3-s"):
            builder.add("source", base=base, seed=seed, size=256, rates=(0.6, 0.7))
    return builder


def study_with_port(rate: float, *, seeds: int = 3, base: float = 0.3) -> StudyBuilder:
    """A study of one base, a LoRA that answers at rate 0.8, and a port."""
    builder = StudyBuilder()
    builder.add("base", rates=(base,))
    for seed in range(seeds):
        builder.add("lora", seed=seed, size=64, rates=(0.8,))
        builder.add("portal", seed=seed, size=64, rates=(rate,))
    return builder


def study_of_ranks(rates: dict[int, float], **rates_by_name: float) -> StudyBuilder:
    """A study of ports whose variants are named after their rank, and of ports by other names at rank 8."""
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.8,))
    named = [(f"r{rank}", rank, rate) for rank, rate in rates.items()]
    named += [(name, 8, rate) for name, rate in rates_by_name.items()]
    for name, rank, rate in named:
        start = len(builder.rows)
        builder.add("portal", seed=0, size=8, rates=(rate,), label=name)
        builder.rows[start:] = [{**line, "rank": rank} for line in builder.rows[start:]]
    return builder


def chosen_of(members: dict[Cell, dict[int | None, str]]) -> Chosen:
    runs = {
        key: Run(key, cell, seed, Cost(None, None, None, None), "chars")
        for cell, keys in members.items()
        for seed, key in keys.items()
    }
    return Chosen(runs, {}, members)


def published_rows() -> list[dict]:
    """Result rows of two tasks and three seeds with the paper's published means and sample stds."""
    rows = []
    for base, published in PUBLISHED.items():
        for method, accuracy in published.accuracy.items():
            mean, std = accuracy.known, accuracy.std or 0.0
            for seed, offset in [(None, 0.0)] if method == "base" else [(0, -std), (1, 0.0), (2, std)]:
                for task, shift in (("easy", 0.1), ("hard", -0.1)):
                    rows.append(
                        row(
                            run=f"{base} {method} {seed}", base=base, method=method, seed=seed, task=task,
                            size=None if method == "base" else 2000, acc_norm=mean + offset + shift,
                            epoch=0 if method == "base" else 5,
                        )
                    )  # fmt: skip
    return rows


def study_of_kinds(num_kinds: int, tasks_per_kind: int) -> tuple[StudyBuilder, dict[str, str]]:
    """A study of base, LoRA and port on so many tasks, each named after its kind, and the kinds by task."""
    kinds = {
        f"kind{kind:02d}_{number}": f"kind{kind:02d}"
        for kind in range(num_kinds)
        for number in range(tasks_per_kind)
    }
    builder = StudyBuilder(tasks=tuple(kinds), num_examples=20, with_predictions=False)
    builder.add("base", rates=(0.3,))
    for seed in range(2):
        builder.add("lora", seed=seed, size=8, rates=(0.8,))
        builder.add("portal", seed=seed, size=8, rates=(0.7,))
    return builder, kinds
