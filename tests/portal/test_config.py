"""Configs refuse what does not fit, in one line, and a run's key covers every field."""

import json
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from pydantic import ValidationError

from portal.config import AdapterConfig, HypernetConfig, RunConfig
from portal.messages import explain
from portal.methods import METHODS
from portal.train_config import TrainConfig
from tests.support.bases import TASKS, make_run

WORDS = (
    *("source", "other", "k", "o", "4bit", "norm_equalized", "answer_tokens", "nearest", "fp32", "linear"),
    *("shared_lora", "last_epoch", "best_validation", "kept", "project", "MIT", "sums", "1" * 16, "2" * 16),
)
VALUES: tuple[Any, ...] = (*WORDS, ["sums"], ["other"], None, 2, 3, 7, 20, 0.01, 0.5, 0.95)
"""What is tried in the place of each value of a run."""
DESCRIBED = {"data": {"files": {"sums": "not stated"}}}


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return set().union(*(leaves(item, (*path, key)) for key, item in value.items()))
    if isinstance(value, list):
        return set().union(*(leaves(item, (*path, index)) for index, item in enumerate(value)))
    return {path}


def changed(run: RunConfig, path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    raw = run.model_dump(mode="json")
    parent = raw
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return raw


def explanation(raw: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(raw)
    return explain(caught.value, RunConfig)


def test_the_key_changes_with_every_field() -> None:
    touched, known = set(), set()
    text = {"encoder": "minilm", "encoder_sha256": "0" * 64}
    runs = [
        make_run(method, "tiny", **DESCRIBED)
        for method in ("portal", "cross_lora", "taught", "carried", "lora")
    ]
    keeps = {"train": TrainConfig(epochs=2, keep="best_validation")}
    described = make_run("source", "tiny", data={"descriptions": {t: ["it"] for t in TASKS}}, text=text)
    for run in (*runs, make_run("portal", "tiny", **keeps), described):
        known |= leaves(run.model_dump(mode="json"))
        for path, value in product(leaves(run.model_dump(mode="json")), VALUES):
            raw = changed(run, path, value)
            with suppress(ValidationError):
                other = RunConfig.model_validate(raw)
                if other != run:
                    assert other.key != run.key, (path, value)
                    touched.add(path)
    # a part that a method does not have is none of its fields
    assert [path for path in known if not any(each[: len(path)] == path for each in touched)] == []


def test_a_run_is_described_by_method_bases_size_and_seed_and_its_key_is_pinned() -> None:
    joint = make_run("source", "one", "two")

    assert (joint.key, joint.describe()) == ("9b1ef399fc327a6c", "source one+two n9 s0")
    assert make_run("base", "one").describe() == "base one"


def test_a_field_that_came_later_is_in_the_key_only_where_it_leaves_its_default() -> None:
    run = make_run("portal", "tiny")
    assert run.train is not None
    rarer = run.model_copy(update={"train": run.train.model_copy(update={"evaluate_every": 20})})

    assert json.loads(rarer.canonical_json())["train"].pop("evaluate_every") == 20
    assert not {"evaluate_every", "keep", "test_scores"} & set(json.loads(run.canonical_json())["train"])
    assert RunConfig.model_validate_json(run.canonical_json()) == run


def test_what_has_left_is_read_at_its_default_stays_in_the_key_and_is_refused_by_name_elsewhere() -> None:
    run = make_run("hypernet", "tiny")
    raw = run.model_dump(mode="json")

    old = RunConfig.model_validate(raw | {"train": raw["train"] | {"engine": "pack", "residual_rank": 0}})

    assert old == run
    assert json.loads(run.canonical_json())["train"]["engine"] == "pack"
    left = "is no longer there; commit ea55e6a (tag before-13) still runs it"
    for name, value in (("engine", "peft"), ("residual_rank", 2)):
        assert explanation(changed(run, ("train", name), value)) == f"train: {name} {value!r} {left}"
    for value in ("upgrad", "pcgrad", "aligned_mtl", "imtl_g"):
        found = explanation(changed(run, ("train", "task_gradients"), value))
        assert found == f"train.task_gradients: task_gradients {value!r} {left}"
    assert explanation(changed(run, ("method",), "base_residual")) == f"method: method 'base_residual' {left}"


def test_a_config_read_back_from_its_json_is_equal_and_has_the_same_key() -> None:
    for method in METHODS:
        run = make_run(method, "tiny")

        again = RunConfig.model_validate_json(run.canonical_json())

        assert again == run
        assert again.key == run.key


def test_a_value_out_of_range_is_explained_in_one_line_that_names_place_and_value() -> None:
    wrong: list[tuple[tuple[str | int, ...], Any]] = [
        (("train", "lr"), 0),
        (("train", "lr"), float("nan")),
        (("train", "lr"), "fast"),
        (("train", "schedule"), "cosine"),
        (("train", "ema_decay"), 1),
        (("adapter", "rank"), 0),
        (("adapter", "modules"), ["q", "head"]),
        (("data", "size"), -1),
        (("data", "tasks"), []),
        (("bases",), []),
        (("seed",), -1),
        (("method",), "dora"),
    ]
    for path, value in wrong:
        message = explanation(changed(make_run("portal", "tiny"), path, value))
        assert message.startswith(".".join(map(str, path)))
        assert "\n" not in message
        assert repr(value[-1] if value == ["q", "head"] else value) in message


REFUSED: tuple[tuple[str, Any, str], ...] = (
    ("method", "portl", "unknown method 'portl'; did you mean 'portal'?"),
    ("train schedule", "lineal", "unknown schedule 'lineal'; did you mean 'linear'?"),
    ("transfer", "sideways", "unknown transfer 'sideways'; known: coordinate, project"),
    ("bases 0 precision", "8bits", "unknown precision '8bits'; did you mean '8bit'?"),
    ("sed", 1, "unknown key; did you mean 'seed'?"),
    ("train epoch", 1, "unknown key; did you mean 'epochs'?"),
    ("hypernet d_latnet", 1, "unknown key; did you mean 'd_latent'?"),
    ("data sizes", 1, "unknown key; did you mean 'size'?"),
    ("bases 0 nme", 1, "unknown key; did you mean 'name'?"),
    ("adapter zzzzzz", 1, "unknown key; known: alpha, modules, rank"),
)
"""A place, what is put there, and how that is refused."""


def test_an_unknown_word_or_key_is_refused_with_the_nearest_one_and_a_missing_key_by_name() -> None:
    for place, value, message in REFUSED:
        path = tuple(int(part) if part.isdigit() else part for part in place.split())
        found = explanation(changed(make_run("portal", "tiny"), path, value))
        assert found == f"{'.'.join(map(str, path))}: {message}"
    raw = json.loads(make_run("portal", "tiny").canonical_json())
    del raw["data"]["prompt_set"]
    assert explanation(raw) == "data.prompt_set: Field required"


def test_values_that_do_not_go_together_are_refused_by_both() -> None:
    run = make_run("portal", "tiny")
    for modules in ([], ["q", "q"]):
        found = explanation(changed(run, ("adapter", "modules"), modules))
        assert found == f"adapter: modules must be a non-empty list without repeats, got {modules}"
    kept = explanation(changed(run, ("train", "test_scores"), "kept"))
    assert kept == "train: test_scores 'kept' needs keep 'best_validation', which chooses what is kept"
    once = changed(run, ("train", "keep"), "best_validation")
    once["train"]["evaluate"] = "last_epoch"
    message = "train: keep 'best_validation' chooses among evaluations; 'last_epoch' makes only one"
    assert explanation(once) == message


def test_every_part_is_required_by_the_methods_that_use_it_and_refused_by_the_others() -> None:
    others = {
        "adapter": AdapterConfig(),
        "hypernet": HypernetConfig(),
        "train": TrainConfig(),
        "seed": 0,
        "source": "0" * 16,
        "latents": "0" * 16,
        "transfer": "coordinate",
    }
    for method, part in product(METHODS, others):
        run = make_run(method, "tiny")
        has = getattr(run, part) is not None
        message = explanation(run.model_dump() | {part: None if has else others[part]})
        assert message.endswith(f"method {method!r} {'needs' if has else 'takes no'} {part!r}")


def test_only_a_source_run_has_several_bases() -> None:
    assert len(make_run("source", "one", "two").bases) == 2
    for method in METHODS.keys() - {"source"}:
        with pytest.raises(ValidationError, match=f"method '{method}' runs on one base, got 2"):
            make_run(method, "one", "two")


def test_a_config_cannot_be_changed_and_a_copy_has_a_key_of_its_own() -> None:
    run = make_run("lora", "tiny")
    key = run.key

    with pytest.raises(ValidationError, match="frozen"):
        run.seed = 3  # type: ignore[misc]
    assert run.model_copy(update={"data": run.data.model_copy(update={"eval_size": 7})}).key != key
    assert run.model_copy().key == run.key == key


def test_the_defaults_are_the_papers() -> None:
    assert (AdapterConfig().rank, AdapterConfig().scaling) == (8, 2.0)
    widths = {"d_latent": 256, "d_layer": 32, "hidden": 512, "d_core": 1024}
    assert HypernetConfig().model_dump() == {**widths, "latent_std": 0.02}
    train = TrainConfig()
    assert (train.epochs, train.batch_size, train.lr, train.lr_latent) == (5, 4, 1e-3, 2e-3)
    assert (train.clip_norm, train.ema_decay, train.ema_floor, train.weight_decay) == (1.0, 0.9, 1e-3, 0.0)
