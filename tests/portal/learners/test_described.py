"""New tasks by their descriptions: the source that learns them, what it leaves, and the latents they get."""

import shutil
from pathlib import Path

import portallib
import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.registry import Registry
from portal.bases.base import Base
from portal.config import RunConfig, TextConfig
from portal.learners.base import Learner
from portal.learners.described import DescribedLatents
from portal.learners.taught import TaughtLatents
from portal.text.encoder import find_encoder
from portal.text.text_map import TEXT_MAP
from portal.train_config import TrainConfig
from tests.support.bases import make_base, make_run
from tests.support.encoders import save_encoder
from tests.support.packs import FinishedPack, assert_same_ends, interrupted_run, make_pack, run_to_end

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
    pack = make_pack(bases, [run], None)
    run_to_end(pack)
    pack.learners[0].save_artifact(folder, RunRecord.of(run))
    return folder


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
    assert isinstance(learner, DescribedLatents)
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
    assert isinstance(own, DescribedLatents)
    assert isinstance(exchanged, DescribedLatents)

    for task, other in (tasks, tasks[::-1]):
        assert torch.equal(exchanged.latents[task], own.latents[other])


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
    assert isinstance(start, DescribedLatents)

    assert torch.equal(taught.latents[0], start.latents["sums"])


def test_a_port_has_the_map_of_its_source(bases: dict[str, Base], source: Path, tmp_path: Path) -> None:
    run = make_run("portal", "other", data={"tasks": OLD})
    pack = make_pack(bases, [run], source / "small")
    run_to_end(pack)
    pack.learners[0].save_artifact(tmp_path, RunRecord.of(run))

    ported, original = Artifact.load(tmp_path).text_map, Artifact.load(source / "small").text_map
    assert ported is not None
    assert original is not None
    assert torch.equal(ported.weight_ZD, original.weight_ZD)


def test_a_registry_keeps_the_map(source: Path, tmp_path: Path) -> None:
    member = Registry(tmp_path / "shelf").add(source / "small")

    assert isinstance(member.folder, Path)
    kept, original = Artifact.load(member.folder).text_map, Artifact.load(source / "small").text_map
    assert kept is not None
    assert original is not None
    assert torch.equal(kept.weight_ZD, original.weight_ZD)


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
