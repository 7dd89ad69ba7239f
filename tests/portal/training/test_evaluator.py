"""Scoring: adapters that add nothing have the frozen base's scores, and a device never waits for a table."""

from dataclasses import dataclass

import pytest

from portal.bases.base import Base
from portal.evaluate.loglikelihood import PendingScores, Scored
from portal.learners.base import build_learner
from portal.train_config import TrainConfig
from portal.training.evaluator import FrozenScores
from portal.training.pack import Pack
from tests.support.bases import make_base, make_rows, make_run
from tests.support.packs import Tiny
from tests.support.zoo import tiny_base

TRAIN = TrainConfig(epochs=1, lr=1e-2, evaluate="every_epoch")
METRICS = ("task", "split", "acc", "acc_norm", "log_loss", "ties", "eval_set")


@dataclass(frozen=True)
class Scoring:
    """The forwards of a base and the scores of each learner, scored one after another."""

    forwards: list[int]
    scores: list[list[object]]


def scoring(base: Base, pack: Pack, epoch: int = 0) -> Scoring:
    seen: list[int] = []
    found = Scoring([], [])
    with base.model.register_forward_pre_hook(lambda *_: seen.append(1)):
        for learner in pack.learners:
            seen.clear()
            rows = pack.evaluate(learner, epoch).results
            found.forwards.append(len(seen))
            found.scores.append([{name: row[name] for name in METRICS} for row in rows])
    return found


def test_the_frozen_base_is_scored_once_for_all_that_start_as_it(tiny: Tiny) -> None:
    runs = [make_run(method, "target", train=TRAIN) for method in ("lora", "hypernet", "portal")]

    found = scoring(tiny.bases["target"], tiny.pack(make_run("base", "target"), *runs))

    assert found.forwards[0] > 0
    assert found.forwards[1:] == [0, 0, 0]
    assert found.scores[0]
    assert found.scores[1:] == [found.scores[0]] * 3


def test_packs_of_a_process_score_a_frozen_base_once_for_a_table_of_rows(tiny: Tiny) -> None:
    base, frozen = tiny.bases["target"], FrozenScores()
    bases, rows = {"target": base}, {"target": make_rows(base)}
    lora = make_run("lora", "target", train=TRAIN)

    first, second, apart = (
        scoring(base, Pack(bases, rows, [build_learner(run, bases, rows)], frozen=kept))
        for run, kept in ((make_run("base", "target"), frozen), (lora, frozen), (lora, None))
    )

    assert first.forwards == apart.forwards > second.forwards == [0]
    assert first.scores == second.scores == apart.scores
    kept = frozen.of(base, rows["target"])
    assert frozen.of(base, rows["target"]) is kept
    assert frozen.of(base, make_rows(base)) is not kept
    assert frozen.of(tiny.bases["small"], rows["target"]) is not kept


def test_trained_adapters_and_latents_that_start_on_a_trained_core_are_scored_themselves(tiny: Tiny) -> None:
    pack = tiny.pack(*(make_run("lora", "target", seed=seed, train=TRAIN) for seed in (0, 1)))
    before = scoring(tiny.bases["target"], pack)
    while any(learner.step < learner.num_steps for learner in pack.learners):
        pack.step()
    after = scoring(tiny.bases["target"], pack, epoch=1)
    assert after.forwards == [before.forwards[0]] * 2
    assert after.scores[0] != after.scores[1]

    taught = tiny.pack(make_run("base", "small"), make_run("taught", "small", train=TRAIN))
    found = scoring(tiny.bases["small"], taught)
    assert found.forwards[1] == found.forwards[0]
    assert found.scores[1] != found.scores[0]


@pytest.mark.parametrize(("method", "names"), [("lora", ("target",)), ("source", ("small", "target"))])
def test_a_device_has_all_forwards_before_the_first_scores_are_read(
    method: str, names: tuple[str, ...], tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading waits for the device: whatever comes after it finds the device without work."""
    pack = tiny.pack(make_run(method, *names, train=TRAIN))
    read, seen = PendingScores.scored.func, []  # type: ignore[attr-defined]

    def note(pending: PendingScores) -> list[Scored]:
        seen.append("read")
        return read(pending)  # type: ignore[no-any-return]

    monkeypatch.setattr(PendingScores, "scored", property(note))
    models = [tiny.bases[name].model for name in names]
    hooks = [model.register_forward_pre_hook(lambda *_: seen.append("forward")) for model in models]
    pack.evaluate(pack.learners[0], 0)
    for hook in hooks:
        hook.remove()

    assert seen.count("forward") >= 6 * len(names)  # tasks x splits
    assert seen == sorted(seen)


def test_rows_say_whether_a_scored_row_held_all_choices() -> None:
    for base, together in ((make_base("tiny", "qwen3"), True), (tiny_base("falcon_h1"), False)):
        pack = Tiny({base.name: base}).pack(make_run("base", base.name))
        found = pack.evaluate(pack.learners[0], 0).results
        assert {row["choices_together"] for row in found} == {together}
