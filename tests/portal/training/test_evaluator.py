"""Scoring: adapters that add nothing have the frozen base's scores, and a device never waits for a table."""

from pathlib import Path

import pytest

from portal.bases.base import Base
from portal.evaluate.loglikelihood import PendingScores, Scored
from portal.learners.base import build_learner
from portal.train_config import TrainConfig
from portal.training.evaluator import FrozenScores
from portal.training.pack import Pack
from tests.support.bases import make_base, make_rows, make_run
from tests.support.packs import make_pack
from tests.support.zoo import tiny_base

TRAIN = TrainConfig(epochs=1, lr=1e-2, evaluate="every_epoch")


def forwards_of(base: Base, pack: Pack, epoch: int, places: range) -> tuple[list[int], list[list[object]]]:
    """The forwards of `base` and the result rows for each of these learners, scored one after another."""
    counts, rows = [], []
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    hook = base.model.register_forward_pre_hook(count)
    for place in places:
        seen = 0
        found = pack.evaluate(pack.learners[place], epoch)
        counts.append(seen)
        metrics = ("task", "split", "acc", "acc_norm", "log_loss", "ties", "eval_set")
        rows.append([{name: row[name] for name in metrics} for row in found.results])
    hook.remove()
    return counts, rows


def test_the_frozen_base_is_scored_once_for_all_that_start_as_it(
    bases: dict[str, Base], source: Path
) -> None:
    methods = ("base", "lora", "hypernet", "portal")
    runs = [make_run(m, "target", **({} if m == "base" else {"train": TRAIN})) for m in methods]
    pack = make_pack(bases, runs, source)

    counts, rows = forwards_of(bases["target"], pack, 0, range(4))

    assert counts[0] > 0
    assert counts[1:] == [0, 0, 0]
    assert rows[0]
    assert rows[1:] == [rows[0]] * 3


def test_packs_of_a_process_score_a_frozen_base_once(bases: dict[str, Base], source: Path) -> None:
    base, frozen = bases["target"], FrozenScores()
    rows = {"target": make_rows(base)}
    first, second, apart = (
        Pack({"target": base}, rows, [build_learner(run, {"target": base}, rows)], frozen=kept)
        for run, kept in (
            (make_run("base", "target"), frozen),
            (make_run("lora", "target", train=TRAIN), frozen),
            (make_run("lora", "target", train=TRAIN), None),
        )
    )

    (counted,), own = forwards_of(base, first, 0, range(1))
    (again,), shared = forwards_of(base, second, 0, range(1))
    (alone,), computed = forwards_of(base, apart, 0, range(1))

    assert counted == alone > again == 0
    assert own == shared == computed


def test_frozen_scores_are_those_of_one_base_and_one_table_of_rows(bases: dict[str, Base]) -> None:
    frozen, rows = FrozenScores(), [make_rows(bases["target"]) for _ in range(2)]
    kept = frozen.of(bases["target"], rows[0])

    assert frozen.of(bases["target"], rows[0]) is kept
    assert frozen.of(bases["target"], rows[1]) is not kept
    assert frozen.of(bases["small"], rows[0]) is not kept


def test_adapters_that_were_trained_are_scored_themselves(bases: dict[str, Base], source: Path) -> None:
    pack = make_pack(bases, [make_run("lora", "target", seed=seed, train=TRAIN) for seed in (0, 1)], source)
    before, _ = forwards_of(bases["target"], pack, 0, range(2))
    while any(learner.step < learner.num_steps for learner in pack.learners):
        pack.step()

    after, rows = forwards_of(bases["target"], pack, 1, range(2))

    assert after == [before[0]] * 2
    assert rows[0] != rows[1]


def test_latents_that_start_on_a_trained_core_are_scored_themselves(
    bases: dict[str, Base], source: Path
) -> None:
    pack = make_pack(bases, [make_run("base", "small"), make_run("taught", "small", train=TRAIN)], source)

    counts, rows = forwards_of(bases["small"], pack, 0, range(2))

    assert counts[1] == counts[0]
    assert rows[1] != rows[0]


@pytest.mark.parametrize(("method", "names"), [("lora", ("target",)), ("source", ("small", "target"))])
def test_a_device_has_all_forwards_before_the_first_scores_are_read(
    method: str, names: tuple[str, ...], bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading waits for the device: whatever comes after it finds the device without work."""
    pack = make_pack(bases, [make_run(method, *names, train=TRAIN)], None)
    read, seen = PendingScores.scored.func, []  # type: ignore[attr-defined]

    def note(pending: PendingScores) -> list[Scored]:
        seen.append("read")
        return read(pending)  # type: ignore[no-any-return]

    monkeypatch.setattr(PendingScores, "scored", property(note))
    hooks = [bases[name].model.register_forward_pre_hook(lambda *_: seen.append("forward")) for name in names]
    pack.evaluate(pack.learners[0], 0)
    for hook in hooks:
        hook.remove()

    assert seen.count("forward") >= 6 * len(names)  # tasks x splits
    assert seen == sorted(seen)


def test_rows_say_whether_a_scored_row_held_all_choices() -> None:
    apart = tiny_base("falcon_h1")
    for base, together in ((make_base("tiny", "qwen3"), True), (apart, False)):
        named = {base.name: base}
        pack = make_pack(named, [make_run("base", base.name)], None)
        found = pack.evaluate(pack.learners[0], 0).results
        assert {row["choices_together"] for row in found} == {together}
