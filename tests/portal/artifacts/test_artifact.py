"""Artifacts come back as they were saved, generate their adapters, and belong to one base."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import adapted
from portal.hypernet import Factors
from tests.support.artifacts import HYPERNET, change_config, write_artifact
from tests.support.bases import TASKS, make_base, make_uneven_base


@pytest.mark.parametrize("modules", [("v", "q"), tuple(MODULE_PATHS)])
def test_a_saved_artifact_generates_the_same_factors_bit_for_bit(
    any_base: Base, modules: tuple[str, ...], tmp_path: Path
) -> None:
    adapter = AdapterConfig(modules=modules, rank=3, alpha=5)
    factors = write_artifact(tmp_path, any_base, adapter)

    loaded = Artifact.load(tmp_path)

    assert loaded.config.tasks == TASKS
    assert set(loaded.config.adapter.modules) == set(modules)
    assert (loaded.config.rank, loaded.config.alpha, loaded.config.hypernet) == (3, 5, HYPERNET)
    assert loaded.config.base_model_revision == any_base.revision
    assert_same_factors(loaded.factors(TASKS), factors)
    assert all(b.abs().min() > 0 for _, b in factors.values())


def assert_same_factors(ours: Factors, theirs: Factors) -> None:
    assert ours.keys() == theirs.keys()
    assert all(all(map(torch.equal, ours[group], pair)) for group, pair in theirs.items())


def test_layers_of_unequal_widths_keep_their_groups(tmp_path: Path) -> None:
    base = make_uneven_base("tiny")
    factors = write_artifact(tmp_path, base, AdapterConfig(modules=("gate", "down", "q"), rank=2))

    loaded = Artifact.load(tmp_path)

    names = {(group.module, group.layers): (group.input, group.output) for group in loaded.config.groups}
    assert names == {
        ("gate", (1,)): ("gate", "gate__out_40"),
        ("gate", (0, 2)): ("gate", "gate__out_56"),
        ("down", (1,)): ("down__in_40", "down"),
        ("down", (0, 2)): ("down__in_56", "down"),
        ("q", (0, 1, 2)): ("q", "q"),
    }
    assert_same_factors(loaded.factors(TASKS), factors)


def test_an_artifact_is_the_formats_three_files_and_a_record_of_our_own(artifact: Path) -> None:
    assert sorted(path.name for path in artifact.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "portal.json",
    ]
    raw = json.loads((artifact / "config.json").read_text())
    assert (raw["format_version"], raw["library_name"]) == (1, "portallib")
    assert raw["projection_targets"][0] == {
        "layer_index": 0,
        "module_name": "q",
        "module_path": "self_attn.q_proj",
        "in_features": 24,
        "out_features": 48,
        "input_group": "q",
        "output_group": "q",
    }
    names = set(load_file(artifact / "model.safetensors"))
    assert {"task_latents", "core.l1.weight", "core.B.v.bias", "alignment.input.q"} <= names
    assert {name.split(".")[0] for name in names} == {"task_latents", "core", "alignment"}
    assert all(f"`{task}`" in (artifact / "README.md").read_text() for task in TASKS)


def test_latents_of_named_tasks_come_in_their_order_and_an_unknown_one_is_refused(artifact: Path) -> None:
    loaded = Artifact.load(artifact)
    table = loaded.tensors["task_latents"]

    for chosen in (("names",), ("sums", "colours"), TASKS):
        latents, _ = loaded.frozen_core(chosen, loaded.config.adapter, loaded.config.hypernet)
        assert torch.equal(latents, table[[TASKS.index(task) for task in chosen]])
    for ask in (loaded.task_index, lambda task: loaded.factors((task,))):
        with pytest.raises(ValueError, match="the artifact has no task 'colors'; did you mean 'colours'"):
            ask("colors")


def test_a_core_of_other_shapes_than_the_run_wants_is_refused_whatever_the_order_of_modules(
    artifact: Path,
) -> None:
    loaded = Artifact.load(artifact)
    wanted = AdapterConfig(modules=("v", "q"), rank=2, alpha=6)

    loaded.frozen_core(TASKS, wanted, HYPERNET)
    for adapter, hypernet, message in (
        ({"rank": 4}, {}, "the artifact has rank 2, the run wants 4"),
        ({"alpha": 4}, {}, "the artifact has alpha 6, the run wants 4"),
        ({"modules": ("q",)}, {}, "the artifact has modules"),
        ({}, {"hidden": 7}, "the artifact has hidden 6, the run wants 7"),
        ({}, {"d_core": 7}, "the artifact has d_core 4, the run wants 7"),
    ):
        other = wanted.model_copy(update=adapter), HYPERNET.model_copy(update=hypernet)
        with pytest.raises(ValueError, match=message):
            loaded.frozen_core(TASKS, *other)


@torch.no_grad()
def test_an_applied_artifact_gives_every_forward_the_tasks_adapter(any_base: Base, tmp_path: Path) -> None:
    write_artifact(tmp_path, any_base, AdapterConfig(rank=2, alpha=400))
    loaded = Artifact.load(tmp_path)
    ids = torch.arange(5, 25)[None]
    plain = any_base.model(input_ids=ids).logits
    with adapted(any_base, loaded.factors(("sums",)), 200.0):
        injected = any_base.model(input_ids=ids).logits

    with loaded.applied(any_base, "sums"):
        applied = any_base.model(input_ids=ids).logits

    assert torch.equal(applied, injected)
    assert not torch.allclose(applied, plain)
    assert torch.equal(any_base.model(input_ids=ids).logits, plain)


def test_another_base_is_refused_by_what_differs(artifact: Path) -> None:
    loaded, own = Artifact.load(artifact), "digest-tiny"
    for changes, revision, difference in (
        ({}, "abcdef0123456789", "'tiny' is of revision abcdef012345, not digest-tiny"),
        ({"hidden": 28}, own, "'tiny' has a q of 48 x 28 in layer 0, not 48 x 24"),
        ({"layers": 2}, own, "'tiny' has no q in layer 2"),
        ({"layers": 4}, own, "'tiny' has a further q in layer 3"),
    ):
        base = replace(make_base("tiny", "qwen3", **changes), revision=revision)
        with pytest.raises(ValueError) as caught, loaded.applied(base, "sums"):
            pass
        assert str(caught.value) == (
            f"{artifact}: made for base 'tiny'; {difference}; `portal port {artifact} --to tiny --out DIR` "
            "makes an artifact for it"
        )


def test_an_artifact_of_format_2_exports_the_same_adapter(artifact: Path, tmp_path: Path) -> None:
    Artifact.load(artifact).export_peft("sums", tmp_path / "first")
    (artifact / "portal.json").unlink()
    change_config(artifact, format_version=2)

    Artifact.load(artifact).export_peft("sums", tmp_path / "second")

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def with_task(artifact: Artifact, task: str, latent: torch.Tensor, **tensors: torch.Tensor) -> Artifact:
    """The artifact with a task more at its end, and other `tensors` of it replaced."""
    latents = torch.cat([artifact.tensors["task_latents"], latent[None]])
    config = artifact.config.model_copy(update={"tasks": (*artifact.config.tasks, task)})
    tensors = artifact.tensors | {"task_latents": latents} | tensors
    return replace(artifact, folder=Path("taught"), config=config, tensors=tensors)


def test_tasks_of_another_artifact_of_the_same_core_join(saved: Path) -> None:
    """Its converter plays no part: the adapter is what the own converter makes of the other's latent."""
    own = Artifact.load(saved)
    latent = torch.randn(own.config.d_z)
    converter = {"alignment.input.q": torch.zeros_like(own.tensors["alignment.input.q"])}
    taught = with_task(own, "new", latent, **converter)

    joined = own.with_latents_of(taught)

    assert joined.config.tasks == (*TASKS, "new")
    assert torch.equal(joined.latents["new"], latent)
    generated, before = joined.factors((*TASKS, "new")), own.factors(TASKS)
    wanted = with_task(own, "new", latent).factors(("new",))
    for group, (a, b) in generated.items():
        torch.testing.assert_close((a[:-1], b[:-1]), before[group])
        torch.testing.assert_close((a[-1:], b[-1:]), wanted[group])
    assert own.config.tasks == TASKS


def test_latents_for_another_core_and_a_task_of_two_latents_are_refused(saved: Path) -> None:
    own = Artifact.load(saved)
    latent = torch.randn(own.config.d_z)
    other_core = {"core.l1.bias": own.tensors["core.l1.bias"] + 1e-6}
    wide = replace(own, folder=Path("wide"), config=own.config.model_copy(update={"d_z": 99}))
    once, twice = with_task(own, "new", latent), with_task(own, "new", latent + 1)
    another = with_task(own, "new", latent, **other_core)

    for artifact, other, message in (
        (own, another, r"taught: its latents are for the core \w{12}; .* has the core \w{12}"),
        (own, wide, rf"wide: its latents have 99 numbers, .* {own.config.d_z}: they are"),
        (once, twice, r"task 'new' has another latent than in .*; teach it under another name"),
    ):
        with pytest.raises(ValueError, match=message):
            artifact.with_latents_of(other)
    assert once.with_latents_of(once).config.tasks == once.config.tasks
