"""New tasks of an artifact, taught, by descriptions or nearest: what trains, what is held, what is left."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import portallib
import pytest
import torch
from torch.optim import AdamW

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.registry import Registry
from portal.bases.base import Base
from portal.config import RunConfig, TextConfig
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.forward.adapter_hooks import adapted
from portal.forward.losses import slot_losses
from portal.learners.base import Learner, Start
from portal.learners.new_tasks import MOST_ROWS, FixedLatents, TaughtLatents, nearest_tasks
from portal.text.encoder import find_encoder
from portal.text.text_map import TEXT_MAP
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_base, make_rows, make_run
from tests.support.encoders import save_encoder
from tests.support.packs import (
    FinishedPack,
    assert_same_ends,
    assert_same_tensors,
    interrupted_run,
    make_pack,
    run_to_end,
    save_trained,
)

OLD, NEW = ("colours", "names"), ("sums",)
KNOWN = {
    "colours": ("name the colour", "choose the colour of the person"),
    "names": ("name the person", "what is the name of the person"),
}
SUMS = {"sums": ("what is the sum of a number and a number", "name the sum")}


@pytest.fixture(scope="module")
def bases() -> dict[str, Base]:
    return {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "other": make_base("other", "gemma3", hidden=16, layers=2, seed=2),
    }


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextConfig:
    folder = save_encoder(tmp_path_factory.mktemp("encoder"))
    return TextConfig(encoder=str(folder), encoder_sha256=find_encoder(str(folder)).sha256)


def source_run(text: TextConfig, *names: str) -> RunConfig:
    return make_run("source", *names, data={"tasks": OLD, "descriptions": KNOWN}, text=text)


@pytest.fixture(scope="module")
def source(bases: dict[str, Base], text: TextConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Joint training on both bases."""
    folder = tmp_path_factory.mktemp("source")
    run = source_run(text, "small", "other")
    return save_trained(bases, run, None, folder)


@pytest.fixture(scope="module")
def taught_from(source: Path) -> Path:
    """The artifact on the base that new tasks are taught on."""
    return source / "small"


def described(method: str, bases: dict[str, Base], source: Path, **data: object) -> Learner:
    run = make_run(method, "small", data={"tasks": NEW, "size": 0, "descriptions": SUMS, **data})
    (learner,) = make_pack(bases, [run], source / "small").learners
    return learner


def test_joint_training_leaves_its_map_beside_the_latents(
    bases: dict[str, Base], source: Path, text: TextConfig
) -> None:
    artifact = Artifact.load(source / "small")

    assert artifact.config.format_version == 1
    assert artifact.text_map is not None
    assert artifact.text_map.encoder_sha256 == text.encoder_sha256
    other = Artifact.load(source / "other").text_map
    assert other is not None
    assert torch.equal(other.weight_ZD, artifact.text_map.weight_ZD)
    assert artifact.record is not None
    assert TEXT_MAP in artifact.record.files


@pytest.mark.oracle
def test_portallib_reads_the_latents_and_passes_over_the_map(source: Path) -> None:
    peer = portallib.PortalModel.from_pretrained(str(source / "small"))

    ours = Artifact.load(source / "small").factors(("names",))
    theirs = peer.generate("names")
    for group, (a, b) in ours.items():
        for index, layer in enumerate(group.layers):
            torch.testing.assert_close(a[0, index], theirs[layer, group.module][0], atol=1e-6, rtol=0)
            torch.testing.assert_close(b[0, index], theirs[layer, group.module][1], atol=1e-6, rtol=0)


def test_both_the_map_and_the_tasks_own_parts_train(bases: dict[str, Base], text: TextConfig) -> None:
    pack = make_pack(bases, [source_run(text, "small")], None)
    before = {name: value.clone() for name, value in pack.learners[0].tensors().items()}

    run_to_end(pack)

    after = pack.learners[0].tensors()
    for name in ("text.own", "text.weight", "text.bias"):
        assert not torch.equal(after[name], before[name])


def test_training_with_descriptions_resumes_to_the_last_bit(
    bases: dict[str, Base], text: TextConfig, tmp_path: Path
) -> None:
    runs = [source_run(text, "small", "other")]
    whole = make_pack(bases, runs, None)
    wanted = FinishedPack(whole, run_to_end(whole))

    found = interrupted_run(bases, runs, tmp_path, stop_after=3, folder=tmp_path)

    assert_same_ends(found, wanted)


def test_a_described_task_has_the_mean_of_its_phrasings_and_old_tasks_stay(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    learner = described("described", bases, source)
    before = Artifact.load(source / "small")
    assert isinstance(learner, FixedLatents)
    assert before.text_map is not None

    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    after = Artifact.load(tmp_path)
    each = before.text_map.latents(before.find_encoder().embed(SUMS["sums"]))
    torch.testing.assert_close(after.latents["sums"], each.mean(0))
    assert after.config.tasks == (*OLD, *NEW)
    assert all(torch.equal(after.latents[task], before.latents[task]) for task in OLD)
    assert after.text_map is not None
    assert torch.equal(after.text_map.weight_ZD, before.text_map.weight_ZD)


def test_a_mismatched_task_has_the_latent_of_the_next_tasks_description(
    bases: dict[str, Base], source: Path
) -> None:
    tasks = ("sums", "colours")
    texts = {**SUMS, "colours": KNOWN["colours"]}
    own = described("described", bases, source, tasks=tasks, descriptions=texts)
    exchanged = described("mismatched_description", bases, source, tasks=tasks, descriptions=texts)
    assert isinstance(own, FixedLatents)
    assert isinstance(exchanged, FixedLatents)

    torch.testing.assert_close(exchanged.latents, own.latents.flip(0), atol=0, rtol=0)


def test_a_described_run_is_scored_without_a_row(bases: dict[str, Base], source: Path) -> None:
    run = make_run("described", "small", data={"tasks": NEW, "size": 0, "descriptions": SUMS})
    rows = run_to_end(make_pack(bases, [run], source / "small"))[run.key]

    assert {(row["size"], row["train_rows"], row["calibrated"], row["epoch"]) for row in rows} == {
        (0, 0, False, 0)
    }


def test_teaching_can_start_at_the_description(bases: dict[str, Base], source: Path) -> None:
    train = TrainConfig(epochs=1, rounds_per_epoch=3, lr_latent=0.3, latent_start="description")
    run = make_run("taught", "small", data={"tasks": NEW, "size": 4, "descriptions": SUMS}, train=train)
    (taught,) = make_pack(bases, [run], source / "small").learners
    start = described("described", bases, source)
    assert isinstance(taught, TaughtLatents)
    assert isinstance(start, FixedLatents)

    assert torch.equal(taught.latents[0], start.latents[0])


def test_a_port_and_a_registry_have_the_map_of_the_source(
    bases: dict[str, Base], source: Path, tmp_path: Path
) -> None:
    run = make_run("portal", "other", data={"tasks": OLD})
    save_trained(bases, run, source / "small", tmp_path / "port")
    member = Registry(tmp_path / "shelf").add(source / "small")
    assert isinstance(member.folder, Path)

    maps = [Artifact.load(place).text_map for place in (source / "small", tmp_path / "port", member.folder)]
    weights = [each.weight_ZD for each in maps if each is not None]
    assert len(weights) == 3
    assert all(torch.equal(weight, weights[0]) for weight in weights)


def test_a_source_without_descriptions_understands_none(bases: dict[str, Base], tmp_path: Path) -> None:
    run = make_run("source", "small", data={"tasks": OLD})
    pack = make_pack(bases, [run], None)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))

    with pytest.raises(ValueError, match="trained without descriptions and understands none"):
        described("described", bases, tmp_path)


def test_an_edited_map_is_refused(bases: dict[str, Base], source: Path, tmp_path: Path) -> None:
    learner = described("described", bases, source)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))
    path = tmp_path / TEXT_MAP
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))

    with pytest.raises(ValueError, match=f"{TEXT_MAP}: edited or damaged"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize("method", ["described", "nearest_latent", "taught"])
def test_new_tasks_are_saved_after_the_copy_of_the_source_is_gone(
    bases: dict[str, Base], source: Path, tmp_path: Path, method: str
) -> None:
    copy = tmp_path / "source"
    shutil.copytree(source / "small", copy)
    data = {"tasks": NEW, "size": 0, "descriptions": SUMS} if method == "described" else {"tasks": NEW}
    run = make_run(method, "small", data=data)
    (learner,) = make_pack(bases, [run], copy).learners
    shutil.rmtree(copy)

    learner.save_artifact(tmp_path / "out", RunRecord.of(run))

    assert Artifact.load(tmp_path / "out").text_map is not None


@pytest.mark.parametrize(
    "train",
    [
        TrainConfig(epochs=2, lr=1e-2, task_gradients="norm_equalized"),
        TrainConfig(epochs=2, lr=1e-2, keep="best_validation"),
        TrainConfig(epochs=2, lr=1e-2, tasks_per_step=1, factor_decay=1e-2),
    ],
    ids=["task_gradients", "best_validation", "turns"],
)
def test_every_option_of_joint_training_goes_with_descriptions(
    bases: dict[str, Base], text: TextConfig, tmp_path: Path, train: TrainConfig
) -> None:
    run = source_run(text, "small", "other").model_copy(update={"train": train})
    pack = make_pack(bases, [run], None)
    before = pack.learners[0].tensors()["text.weight"].clone()

    run_to_end(pack)
    pack.learners[0].restore_kept()
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))

    found = Artifact.load(tmp_path / "small").text_map
    assert found is not None
    assert torch.equal(found.weight_ZD, pack.learners[0].tensors()["text.weight"])
    assert not torch.equal(found.weight_ZD, before)


def test_a_step_that_is_taken_again_counts_its_gradient_once(
    bases: dict[str, Base], text: TextConfig
) -> None:
    once, twice = (make_pack(bases, [source_run(text, "small")], None) for _ in range(2))
    (learner,) = twice.learners
    for value in learner.training_factors("small").values():
        sum(factor.sum() for factor in value).backward(retain_graph=True)
    learner.drop_gradients()

    for pack in (once, twice):
        for due, epoch in pack.due():
            pack.evaluate(due, epoch)
        pack.step()

    wanted = once.learners[0].tensors()
    assert all(torch.equal(value, wanted[name]) for name, value in learner.tensors().items())


def losses(base: Base, artifact: Artifact, rows: list[TokenRow]) -> dict[str, float]:
    """The mean NLL of gold answers' tokens by old task, by scoring all choices with its adapter."""
    found = {}
    for task in OLD:
        with artifact.applied(base, task):
            found[task] = summarise(score_rows(base, rows)).log_loss
    return found


def test_the_nearest_task_has_the_least_log_loss(bases: dict[str, Base], taught_from: Path) -> None:
    artifact, table = Artifact.load(taught_from), make_rows(bases["small"])
    rows = {task: list(table.rows(task, "train"))[:MOST_ROWS] for task in (*OLD, *NEW)}

    found = nearest_tasks(artifact, bases["small"], rows)

    for task, own in rows.items():
        by_task = losses(bases["small"], artifact, own)
        assert found[task] == min(by_task, key=by_task.__getitem__)


def test_the_control_leaves_the_nearest_latent_under_the_new_name(
    bases: dict[str, Base], taught_from: Path, tmp_path: Path
) -> None:
    run = make_run("nearest_latent", "small", data={"tasks": NEW, "size": 4})
    (learner,) = make_pack(bases, [run], taught_from).learners

    learner.save_artifact(tmp_path, RunRecord.of(run))

    before, after = Artifact.load(taught_from), Artifact.load(tmp_path)
    nearest = nearest_tasks(before, bases["small"], learner.data.first_rows("small", MOST_ROWS))
    assert after.config.tasks == (*OLD, *NEW)
    assert torch.equal(after.latents["sums"], before.latents[nearest["sums"]])
    assert after.record is not None
    assert before.record is not None
    assert after.record.core_sha256 == before.record.core_sha256


def test_teaching_can_start_at_the_nearest_latent(bases: dict[str, Base], taught_from: Path) -> None:
    train = TrainConfig(epochs=1, rounds_per_epoch=3, lr_latent=0.3, latent_start="nearest")
    run = make_run("taught", "small", data={"tasks": NEW, "size": 4}, train=train)
    control = make_run("nearest_latent", "small", data={"tasks": NEW, "size": 4})
    taught, nearest = (make_pack(bases, [each], taught_from).learners[0] for each in (run, control))
    assert isinstance(taught, TaughtLatents)
    assert isinstance(nearest, FixedLatents)

    assert torch.equal(taught.latents, nearest.latents)


TEACHING = TrainConfig(epochs=3, lr_latent=0.3, batch_size=4)


FEWER = {"names": 4}
"""Rows of a task that has fewer than the others, and so takes fewer steps."""


def taught_pack(
    bases: dict[str, Base],
    taught_from: Path,
    tasks: tuple[str, ...] = NEW,
    counts: Mapping[str, int] | None = None,
) -> Pack:
    run = make_run("taught", "small", data={"tasks": tasks, "size": 9}, train=TEACHING)
    return make_pack(bases, [run], taught_from, counts=counts)


def test_only_latents_of_new_tasks_train_and_all_else_stays_to_the_last_bit(
    bases: dict[str, Base], taught_from: Path, tmp_path: Path
) -> None:
    pack = taught_pack(bases, taught_from)
    (learner,) = pack.learners
    before = Artifact.load(taught_from)
    assert torch.equal(learner.latents[0], before.mean_latent)

    run_to_end(pack)
    learner.save_artifact(tmp_path, RunRecord.of(learner.run))

    after = Artifact.load(tmp_path)
    assert after.config.tasks == (*OLD, *NEW)
    for name, value in before.tensors.items():
        found = after.tensors[name]
        assert torch.equal(found[: len(OLD)] if name == "task_latents" else found, value), name
    assert not torch.equal(after.latents["sums"], before.mean_latent)
    assert learner.num_trained_params == before.config.d_z
    assert after.calibrated == OLD
    assert after.record is not None
    assert after.record.core_sha256 == before.record.core_sha256
    assert after.record.lineage.source.core_sha256 == before.record.core_sha256


def test_a_latent_follows_plain_adamw_on_the_tasks_own_loss(
    bases: dict[str, Base], taught_from: Path
) -> None:
    """The oracle: one task, its factors from the artifact's core and converter, torch's own optimiser."""
    pack = taught_pack(bases, taught_from)
    (learner,) = pack.learners
    artifact, base = Artifact.load(taught_from), bases["small"]
    _, core = artifact.frozen_core((), artifact.config.adapter, artifact.config.hypernet)
    latent = artifact.mean_latent[None].clone().requires_grad_()
    optimiser = AdamW([latent], lr=TEACHING.lr_latent, weight_decay=TEACHING.weight_decay)

    for _ in range(learner.num_steps):
        factors = artifact.converter()(core, latent)
        with adapted(base, factors, artifact.config.adapter.scaling):
            loss = slot_losses(base, learner.slot_rows("small", 0))
        optimiser.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_([latent], TEACHING.clip_norm)
        optimiser.step()
        for due, epoch in pack.due():
            pack.evaluate(due, epoch)
        pack.step()

    torch.testing.assert_close(learner.latents, latent, rtol=1e-4, atol=1e-5)


def test_tasks_are_taught_in_one_pack_as_alone(bases: dict[str, Base], tmp_path: Path) -> None:
    """Tasks of unequal numbers of rows take unequal numbers of steps, each as if it were alone."""
    run = make_run("source", "small", data={"tasks": OLD[:1]})
    pack = make_pack(bases, [run], None)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))
    taught_from = tmp_path / "small"
    together = taught_pack(bases, taught_from, tasks=("names", "sums"), counts=FEWER)
    run_to_end(together)
    assert [each.tasks for each in together.learners[0].optimisers] == [("sums",), ("names",)]

    for task in ("names", "sums"):
        alone = taught_pack(bases, taught_from, tasks=(task,), counts=FEWER)
        run_to_end(alone)
        torch.testing.assert_close(
            together.learners[0].trained_latents()[task], alone.learners[0].trained_latents()[task]
        )


def test_teaching_goes_on_from_its_checkpoint(bases: dict[str, Base], taught_from: Path) -> None:
    pack = taught_pack(bases, taught_from)
    run_to_end(pack)
    (again,) = taught_pack(bases, taught_from).learners
    tensors, meta = pack.learners[0].state()

    again.restore(tensors, meta)

    assert_same_tensors(again, pack.learners[0])


def test_a_base_that_the_artifact_was_not_made_for_is_refused(
    bases: dict[str, Base], taught_from: Path
) -> None:
    run = make_run("taught", "other", data={"tasks": NEW})

    with pytest.raises(ValueError, match=r"made for base 'small'; 'other' .*`portal port"):
        TaughtLatents(run, bases, {"other": make_rows(bases["other"])}, Start(taught_from))
