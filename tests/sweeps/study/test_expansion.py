"""Runs of studies of new tasks: what is taught, described and carried, and from which runs."""

import pytest

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
