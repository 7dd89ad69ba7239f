"""Runs of new tasks: what is taught, described and carried, and which tasks a port is calibrated on."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.study.expansion import calibrated_tasks
from tests.support.encoders import save_encoder
from tests.support.studies import load_text

NEW_TASKS = """
name: s
suite: village
tasks: [new-frames]
seeds: [0, 1]
sources: [village-qwen3-xs]
targets: [village-qwen3-xs, village-qwen3-m]
methods:
  base: {}
  lora: {size: 16}
  source: {tasks: [source-11], size: 48}
  portal: {targets: [village-qwen3-m], size: 8}
  taught: {targets: [village-qwen3-xs], size: 16, curve: {sizes: [1, 4]}}
  carried: {targets: [village-qwen3-m], curve: {sizes: [4]}}
  mean_latent: {targets: [village-qwen3-m]}
  shared_lora: {tasks: [source-11], targets: [village-qwen3-m], size: 8}
"""


TAUGHT_AND_CARRIED = """taught: {targets: [village-qwen3-xs], size: 16, curve: {sizes: [1, 4]}}
  carried: {targets: [village-qwen3-m], curve: {sizes: [4]}}"""


def test_latents_are_taught_on_one_base_and_carried_to_another(tmp_path):
    study = load_text(tmp_path, NEW_TASKS)

    of = {
        label: [run for run in study.runs if study.labels[run.key] == label]
        for label in study.labels.values()
    }
    own, known = study.own_tasks, of["source"][0].data.tasks
    assert (len(own), len(known), len(study.tasks)) == (28, 11, 39)
    assert {run.data.tasks for label in ("base", "lora", "taught", "carried") for run in of[label]} == {own}
    assert {run.data.tasks for run in of["portal"]} == {known}
    assert sorted(run.data.size for run in of["taught"]) == [1, 1, 4, 4, 16, 16]
    assert sorted(run.data.size for run in of["carried"]) == [4, 4, 16, 16]
    for run in of["carried"]:
        port, taught = (study.by_key[key] for key in run.parent_keys)
        assert (port.method, taught.method) == ("portal", "taught")
        assert {port.seed, taught.seed} == {run.seed}
        assert port.source == taught.source
        assert (run.data, run.adapter, run.hypernet) == (taught.data, port.adapter, port.hypernet)
    assert [run.method for run in study.runs].index("carried") > max(
        place for place, run in enumerate(study.runs) if run.method in ("portal", "taught")
    )


def test_new_tasks_are_described_in_words_that_the_source_never_saw(tmp_path):
    encoder = save_encoder(tmp_path)
    described = """
  described: {targets: [village-qwen3-xs]}
  mismatched_description: {targets: [village-qwen3-xs]}
  carried_words: {method: carried, latents: described, targets: [village-qwen3-m]}
"""
    text = NEW_TASKS.replace("carried: {", "carried: {latents: taught, ").rstrip() + described
    study = load_text(tmp_path, text.replace("source: {", f"source: {{text: {{encoder: {encoder}}}, "))

    for run in study.runs:
        own = {phrasing for phrasings in run.data.descriptions.values() for phrasing in phrasings}
        known = {phrasing for each in study.suite.descriptions.values() for phrasing in each.phrasings}
        if run.method == "source":
            assert run.text is not None
            assert (run.text.encoder, len(run.text.encoder_sha256)) == (str(encoder), 64)
            assert {len(phrasings) for phrasings in run.data.descriptions.values()} == {8}
            assert own <= known
        elif run.method in ("described", "mismatched_description"):
            assert (run.data.size, run.data.trained_tasks, run.train) == (0, (), None)
            assert {len(phrasings) for phrasings in run.data.descriptions.values()} == {1}
            assert not own & known
        else:
            assert not own
    of = {
        label: [run for run in study.runs if study.labels[run.key] == label]
        for label in study.labels.values()
    }
    first, second = of["described"]
    assert first.data.descriptions != second.data.descriptions
    for run in of["carried_words"]:
        assert run.data.size == 0
        assert study.by_key[run.latents].method == "described"


def test_controls_that_know_other_tasks_are_scored_on_the_studys_without_a_row(tmp_path):
    study = load_text(tmp_path, NEW_TASKS)

    for run in study.runs:
        if run.method == "mean_latent":
            assert (run.data.tasks, run.data.trained_tasks, run.data.size) == (study.own_tasks, (), 8)
        if run.method == "shared_lora":
            assert set(run.data.tasks) == set(study.tasks)
            assert set(run.data.trained_tasks) == set(study.tasks) - set(study.own_tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("taught: {targets: [village-qwen3-xs]", "taught: {targets: [village-qwen3-m]"),
            "is no source of the",
        ),
        (("tasks: [source-11], size: 48", "tasks: [source-12], size: 48"), "no task 'source-12'"),
        (
            ("carried: {", "carried: {latents: portal, "),
            "no taught or nearest_latent or described method 'portal'",
        ),
        (
            (TAUGHT_AND_CARRIED, "described: {targets: [village-qwen3-xs]}"),
            "'source' is trained without descriptions; give it an encoder as methods.source.text",
        ),
        (
            ("size: 16, curve: {sizes: [1, 4]}", "size: 16, train: {latent_start: description}"),
            "methods.taught: 'source' is trained without descriptions",
        ),
        (("source: {", "source: {text: {encoder: nowhere}, "), "encoder 'nowhere': no such folder"),
        (("lora: {", "lora: {text: {}, "), "method 'lora' takes no 'text'"),
        (("taught: {", "taught: {seeds: [0], "), "seed 1 has no run of 'taught'"),
        (("curve: {sizes: [4]}}\n  mean", "curve: {sizes: [5]}}\n  mean"), "'taught' has no size 5"),
        (("  lora: {size: 16}", "  lora: {size: 16, tasks: [source-11]}"), "method 'lora' takes no 'tasks'"),
    ],
)
def test_what_new_tasks_cannot_have_is_refused(tmp_path, change, message):
    assert change[0] in NEW_TASKS
    with pytest.raises(ValueError, match=message):
        load_text(tmp_path, NEW_TASKS.replace(*change))


def test_what_trains_nothing_can_name_one_variant_of_what_it_starts_from(tmp_path):
    variants = """
variants:
  few: {methods: [source, portal, taught], tasks: [source-11]}
  many: {methods: [source, portal, taught], tasks: [source-35]}
"""
    text = NEW_TASKS.replace("carried: {", "carried: {source: portal-few, latents: taught-few, ")
    text = text.replace("mean_latent: {", "mean_latent: {source: portal-many, ")

    study = load_text(tmp_path, text + variants)

    parents = {
        study.labels[run.key]: [study.labels[key] for key in run.parent_keys]
        for run in study.runs
        if run.method in ("carried", "mean_latent")
    }
    assert parents == {"carried": ["portal-few", "taught-few"], "mean_latent": ["portal-many"]}


def test_what_trains_nothing_is_in_every_variant_of_what_it_starts_from(tmp_path):
    variants = """
variants:
  few: {methods: [source, portal, taught], tasks: [source-11]}
  many: {methods: [source, portal, taught], tasks: [source-35]}
"""
    study = load_text(tmp_path, NEW_TASKS + variants)

    for run in study.runs:
        label = study.labels[run.key]
        if run.method in ("carried", "mean_latent"):
            name = label.partition("-")[2]
            assert name in ("few", "many")
            parents = [study.labels[key] for key in run.parent_keys]
            assert parents == [f"portal-{name}", f"taught-{name}"][: len(parents)]
            port = study.by_key[run.source]
            assert len(port.data.tasks) == {"few": 11, "many": 35}[name]


TASKS = tuple(f"task-{index}" for index in range(12))


def drawn(
    wanted: int | float, seed: int = 0, tasks: tuple[str, ...] = TASKS, kinds: dict[str, str] | None = None
) -> tuple[str, ...]:
    found = calibrated_tasks(tasks, wanted, seed, kinds or {})
    assert found is not None
    return found


@given(st.integers(1, 10), st.integers(0, 2**31 - 1))
def test_fewer_tasks_are_among_more_of_the_same_seed(count: int, seed: int) -> None:
    assert set(drawn(count, seed)) < set(drawn(count + 1, seed))


def test_the_order_in_which_tasks_are_listed_draws_no_other_ones() -> None:
    shuffled = tuple(random.Random(0).sample(TASKS, len(TASKS)))

    again = drawn(5, tasks=shuffled)

    assert set(again) == set(drawn(5))
    assert list(again) == [task for task in shuffled if task in again]


def test_every_task_is_drawn_by_some_seed_and_seeds_differ() -> None:
    sets = {drawn(3, seed) for seed in range(40)}

    assert len(sets) > 20
    assert {task for each in sets for task in each} == set(TASKS)


@given(st.integers(1, 11), st.integers(0, 2**31 - 1))
def test_kinds_take_turns(count: int, seed: int) -> None:
    kinds = {task: "abc"[index % 3] for index, task in enumerate(TASKS)}

    counts = Counter({"a": 0, "b": 0, "c": 0})
    counts.update(kinds[task] for task in drawn(count, seed, kinds=kinds))

    assert max(counts.values()) - min(counts.values()) <= 1
    assert set(drawn(count, seed, kinds=kinds)) <= set(drawn(min(count + 1, 11), seed, kinds=kinds))


def test_tasks_of_one_kind_and_tasks_without_are_drawn_alike() -> None:
    assert drawn(5, kinds=dict.fromkeys(TASKS, "one")) == drawn(5)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 3), (0.5, 6), (0.9, 11)])
def test_a_share_is_rounded_to_a_number_of_tasks_and_never_to_none(share: float, count: int) -> None:
    assert drawn(share) == drawn(count)


@pytest.mark.parametrize("wanted", [None, 12, 1.0, TASKS])
def test_all_tasks_are_no_choice(wanted: int | float | tuple[str, ...] | None) -> None:
    assert calibrated_tasks(TASKS, wanted, 0, {}) is None


def test_named_tasks_come_in_the_studys_order() -> None:
    assert calibrated_tasks(TASKS, ("task-7", "task-2"), 0, {}) == ("task-2", "task-7")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("task-2", "tusk-3"), "calibrate: the study has no task 'tusk-3'; did you mean 'task-3'?"),
        (13, "calibrate: 13 tasks, the study has 12"),
    ],
)
def test_what_the_study_does_not_have_is_refused(wanted: int | tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        calibrated_tasks(TASKS, wanted, 0, {})
    assert str(caught.value) == message
