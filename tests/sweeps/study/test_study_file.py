"""Variants, filters and the schema of study files."""

from collections import Counter
from pathlib import Path

import jsonschema
import pytest

from portal.config import AdapterConfig
from portal.storage.records import read_yaml
from sweeps.study.catalogue import STUDIES, shipped_studies
from sweeps.study.study_file import StudyFile, json_schema
from tests.support.studies import by_label, load_text

STUDY = """
name: s
tasks: [fact_qa]
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s, mini-gemma3]
methods:
  base: {}
  lora: {size: 8, curve: {sizes: [4]}}
  source: {size: 8, adapter: {modules: [q, v], rank: 8}}
  portal: {size: 8}
"""
RANKS = """
variants:
  r2: {methods: [source, portal], adapter: {rank: 2}}
  r4: {methods: [source, portal], adapter: {rank: 4}, train: {epochs: 3}}
"""


def test_every_variant_of_a_port_starts_from_that_variant_of_its_source(tmp_path: Path) -> None:
    study = load_text(tmp_path, STUDY.replace("rank: 8}", "rank: 8, alpha: 8}") + RANKS)

    labels = Counter(study.labels[run.key] for run in study.runs)
    assert labels == {
        "base": 2, "lora": 8, "source-r2": 2, "source-r4": 2, "portal-r2": 4, "portal-r4": 4,
    }  # fmt: skip
    for run in study.runs:
        if run.method == "portal":
            assert run.source is not None
            label = study.labels[run.key]
            assert study.labels[run.source] == label.replace("portal", "source")
            rank = int(label[-1])
            assert run.adapter == AdapterConfig(modules=("q", "v"), rank=rank, alpha=2 * rank)
            assert run.train is not None
            assert run.train.epochs == (3 if label == "portal-r4" else 5)


def test_a_variant_is_of_the_methods_that_it_names_or_of_all_that_train(tmp_path: Path) -> None:
    ports = "variants: {slow: {methods: [portal], train: {lr: 1e-4}}, fast: {methods: [portal]}}"
    study = load_text(tmp_path, STUDY + ports)
    for name, lr in (("slow", 1e-4), ("fast", 1e-3)):
        runs = by_label(study)[f"portal-{name}"]
        assert {study.labels[str(run.source)] for run in runs} == {"source"}
        assert {run.train.lr for run in runs if run.train} == {lr}

    found = by_label(load_text(tmp_path, STUDY + "variants: {a: {size: 4}, b: {size: 6}}"))
    assert {*found} == {"base", "lora-a", "lora-b", "source-a", "source-b", "portal-a", "portal-b"}
    assert {run.data.size for run in found["source-b"]} == {6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: {r2: {methods: [portl]}}", "no method 'portl' that trains; did you mean 'portal'?"),
        ("variants: {a: {methods: [source]}, b: {methods: [source]}}", "several methods of kind 'source'"),
        ("variants: {r2: {rnk: 2}}", "variants.r2.rnk: unknown key"),
        ("exclude: [{method: hypernet}]", "exclude.0: no run of the study has method: hypernet"),
        ("include: [{seed: [7, 8]}]", "include.0: no run of the study has seed: 7 or 8"),
        ("include: [{}]", "a filter names at least one of method, base, size, seed"),
        ("include: [{method: base}]\nexclude: [{method: base}]", "include and exclude leave no run"),
        ("exclude: [{metod: lora}]", "exclude.0.metod: unknown key; did you mean 'method'?"),
    ],
)  # fmt: skip
def test_a_variant_or_filter_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        load_text(tmp_path, f"{STUDY}{text}\n")

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_filters_choose_runs_and_keep_the_sources_they_need(tmp_path: Path) -> None:
    whole = load_text(tmp_path, STUDY)
    study = load_text(
        tmp_path,
        STUDY
        + "include: [{method: portal, seed: 1}, {method: lora}]\nexclude: [{base: mini-gemma3}, {size: [4]}]",
    )

    found = Counter((run.method, run.bases[0].name, run.data.size, run.seed) for run in study.runs)
    assert found == {
        ("source", "mini-qwen3-xs", 8, 1): 1,
        ("portal", "mini-qwen3-s", 8, 1): 1,
        ("lora", "mini-qwen3-s", 8, 0): 1,
        ("lora", "mini-qwen3-s", 8, 1): 1,
    }
    assert set(study.by_key) < set(whole.by_key)


def test_the_schema_takes_what_the_loader_takes(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)

    for name in shipped_studies():
        validator.validate(read_yaml(STUDIES / f"{name}.yaml"))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + RANKS + "exclude: [{method: lora, size: [4]}]\n")
    validator.validate(read_yaml(path))
    minimal = {"name": "s", "tasks": "all", "methods": {"base": {}}}
    validator.validate(minimal)
    StudyFile.model_validate(minimal)


def test_every_key_of_the_schema_says_what_it_is_and_it_refuses_what_the_loader_refuses() -> None:
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        for key, value in part["properties"].items():
            assert value.get("description"), (part["title"], key)
    base: dict[str, object] = {"name": "s", "methods": {"base": {}}}
    for broken in (
        {"name": "s"},
        base | {"methods": {}},
        base | {"sede": [1]},
        base | {"methods": {"lora": {"train": {"epochs": "many"}}}},
        base | {"exclude": [{"metod": "lora"}]},
        base | {"recipe": "mine"},
    ):
        assert not jsonschema.Draft202012Validator(schema).is_valid(broken)
        with pytest.raises(ValueError):
            StudyFile.model_validate(broken)
