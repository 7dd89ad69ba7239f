"""New tasks of an artifact, taught, by descriptions or nearest: what trains, what is held, what is left."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import portallib
import pytest
import torch
from torch.optim import AdamW

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.registry import Registry
from portal.config import RunConfig, TextConfig
from portal.evaluate.loglikelihood import score_rows, summarise
from portal.forward.adapter_hooks import adapted
from portal.forward.losses import slot_losses
from portal.learners.base import Learner, Start
from portal.learners.new_tasks import MOST_ROWS, FixedLatents, NewTasks, TaughtLatents, nearest_tasks
from portal.text.encoder import find_encoder
from portal.text.text_map import TEXT_MAP
from portal.train_config import TrainConfig
from portal.training.pack import Pack
from tests.support.bases import make_base, make_rows, make_run
from tests.support.encoders import save_encoder
from tests.support.packs import Tiny, advance, assert_same_tensors, run_to_end

OLD, NEW = ("colours", "names"), ("sums",)
KNOWN = {
    "colours": ("name the colour", "choose the colour of the person"),
    "names": ("name the person", "what is the name of the person"),
}
SUMS = {"sums": ("what is the sum of a number and a number", "name the sum")}
UNSEEN = {"tasks": NEW, "size": 0, "descriptions": SUMS}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TextConfig:
    folder = save_encoder(tmp_path_factory.mktemp("encoder"))
    return TextConfig(encoder=str(folder), encoder_sha256=find_encoder(str(folder)).sha256)


@pytest.fixture(scope="module")
def tiny(text: TextConfig, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Two bases and an artifact of both, trained with descriptions; new tasks are taught on the small one."""
    folder = tmp_path_factory.mktemp("source")
    bases = {
        "small": make_base("small", "qwen3", hidden=24, layers=3, seed=1),
        "other": make_base("other", "gemma3", hidden=16, layers=2, seed=2),
    }
    Tiny(bases).saved(source_run(text, "small", "other"), folder)
    return Tiny(bases, folder / "small")


def source_run(text: TextConfig, *names: str) -> RunConfig:
    return make_run("source", *names, data={"tasks": OLD, "descriptions": KNOWN}, text=text)


def new_tasks(tiny: Tiny, method: str, train: TrainConfig | None = None, **data: object) -> NewTasks:
    """A learner of the new task, unless `data` says otherwise, with four rows of it."""
    own = {} if train is None else {"train": train}
    learner = tiny.learner(make_run(method, "small", data={"tasks": NEW, "size": 4, **data}, **own))
    assert isinstance(learner, FixedLatents | TaughtLatents)
    return learner


def saved(learner: Learner, folder: Path) -> Artifact:
    learner.save_artifact(folder, RunRecord.of(learner.run))
    return Artifact.load(folder)


def test_joint_training_leaves_its_map_beside_the_latents_and_ports_and_registries_have_it(
    tiny: Tiny, text: TextConfig, tmp_path: Path
) -> None:
    artifact = Artifact.load(tiny.source)
    member = Registry(tmp_path / "shelf").add(tiny.source)
    assert isinstance(member.folder, Path)

    others = [
        Artifact.load(tiny.source.parent / "other"),
        tiny.saved(make_run("portal", "other", data={"tasks": OLD}), tmp_path / "port"),
        Artifact.load(member.folder),
    ]

    assert artifact.config.format_version == 1
    assert artifact.text_map.encoder_sha256 == text.encoder_sha256
    assert all(torch.equal(each.text_map.weight_ZD, artifact.text_map.weight_ZD) for each in others)
    assert TEXT_MAP in artifact.record.files


@pytest.mark.oracle
def test_portallib_reads_the_latents_and_passes_over_the_map(tiny: Tiny) -> None:
    peer = portallib.PortalModel.from_pretrained(str(tiny.source))

    theirs = peer.generate("names")

    for group, (a, b) in Artifact.load(tiny.source).factors(("names",)).items():
        for index, layer in enumerate(group.layers):
            ours = a[0, index], b[0, index]
            torch.testing.assert_close(ours, tuple(theirs[layer, group.module]), atol=1e-6, rtol=0)


def test_a_described_task_has_the_mean_of_its_phrasings_and_old_tasks_stay(
    tiny: Tiny, tmp_path: Path
) -> None:
    before = Artifact.load(tiny.source)

    after = saved(new_tasks(tiny, "described", **UNSEEN), tmp_path)

    each = before.text_map.latents(before.find_encoder().embed(SUMS["sums"]))
    torch.testing.assert_close(after.latents["sums"], each.mean(0))
    assert after.config.tasks == (*OLD, *NEW)
    assert all(torch.equal(after.latents[task], before.latents[task]) for task in OLD)
    assert torch.equal(after.text_map.weight_ZD, before.text_map.weight_ZD)


def test_a_mismatched_task_has_the_latent_of_the_next_tasks_description_and_is_scored_without_a_row(
    tiny: Tiny,
) -> None:
    texts = {"size": 0, "tasks": ("sums", "colours"), "descriptions": {**SUMS, "colours": KNOWN["colours"]}}
    own, exchanged = (new_tasks(tiny, each, **texts) for each in ("described", "mismatched_description"))
    rows = tiny.ended(own.run).rows

    assert torch.equal(exchanged.latents, own.latents.flip(0))
    seen = {(row["size"], row["train_rows"], row["calibrated"], row["epoch"]) for row in rows}
    assert seen == {(0, 0, False, 0)}


def test_an_edited_map_a_source_without_descriptions_and_another_base_are_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    saved(new_tasks(tiny, "described", **UNSEEN), tmp_path)
    content = bytearray((tmp_path / TEXT_MAP).read_bytes())
    content[-1] ^= 1
    (tmp_path / TEXT_MAP).write_bytes(bytes(content))
    with pytest.raises(ValueError, match=f"{TEXT_MAP}: edited or damaged"):
        Artifact.load(tmp_path)

    plain = make_run("source", "small", data={"tasks": OLD})
    tiny.learner(plain).save_artifact(tmp_path / "plain", RunRecord.of(plain))
    with pytest.raises(ValueError, match="trained without descriptions and understands none"):
        new_tasks(replace(tiny, source=tmp_path / "plain" / "small"), "described", **UNSEEN)

    run, rows = make_run("taught", "other", data={"tasks": NEW}), {"other": make_rows(tiny.bases["other"])}
    with pytest.raises(ValueError, match=r"made for base 'small'; 'other' .*`portal port"):
        TaughtLatents(run, tiny.bases, rows, Start(tiny.source))


def test_new_tasks_are_saved_after_the_copy_of_the_source_is_gone(tiny: Tiny, tmp_path: Path) -> None:
    for method, data in (("described", UNSEEN), ("nearest_latent", {}), ("taught", {})):
        copy = Path(shutil.copytree(tiny.source, tmp_path / "source"))
        learner = new_tasks(replace(tiny, source=copy), method, **data)
        shutil.rmtree(copy)
        assert saved(learner, tmp_path / method).text_map is not None


def test_every_option_of_joint_training_goes_with_descriptions(
    tiny: Tiny, text: TextConfig, tmp_path: Path
) -> None:
    """The map and the tasks' own parts train, and the artifact has the map."""
    for options in (
        {"task_gradients": "norm_equalized"},
        {"keep": "best_validation"},
        {"tasks_per_step": 1, "factor_decay": 1e-2},
    ):
        train = TrainConfig.model_validate({"epochs": 2, "lr": 1e-2, **options})
        run = source_run(text, "small", "other").model_copy(update={"train": train})
        pack, folder = tiny.pack(run), tmp_path / "+".join(options)
        (learner,) = pack.learners
        names = ("text.own", "text.weight", "text.bias")
        before = {name: learner.tensors()[name].clone() for name in names}

        run_to_end(pack)
        learner.restore_kept()
        learner.save_artifact(folder, RunRecord.of(run))

        assert not any(torch.equal(learner.tensors()[name], before[name]) for name in names)
        map_ = Artifact.load(folder / "small").text_map
        assert torch.equal(map_.weight_ZD, learner.tensors()["text.weight"])


def test_a_step_that_is_taken_again_counts_its_gradient_once(tiny: Tiny, text: TextConfig) -> None:
    once, twice = (tiny.pack(source_run(text, "small")) for _ in range(2))
    (learner,) = twice.learners
    for value in learner.training_factors("small").values():
        sum(factor.sum() for factor in value).backward(retain_graph=True)
    learner.drop_gradients()

    for pack in (once, twice):
        advance(pack)

    assert_same_tensors(learner, once.learners[0])


def test_the_nearest_task_has_the_least_log_loss_and_the_control_leaves_its_latent_under_the_new_name(
    tiny: Tiny, tmp_path: Path
) -> None:
    before, base = Artifact.load(tiny.source), tiny.bases["small"]
    table = make_rows(base)
    rows = {task: list(table.rows(task, "train"))[:MOST_ROWS] for task in (*OLD, *NEW)}
    control = new_tasks(tiny, "nearest_latent")

    found = nearest_tasks(before, base, rows)
    of_run = nearest_tasks(before, base, control.data.first_rows("small", MOST_ROWS))
    after = saved(control, tmp_path)

    for task, own in rows.items():
        losses = {}
        for old in OLD:
            with before.applied(base, old):
                losses[old] = summarise(score_rows(base, own)).log_loss
        assert found[task] == min(losses, key=losses.__getitem__)
    assert after.config.tasks == (*OLD, *NEW)
    assert torch.equal(after.latents["sums"], before.latents[of_run["sums"]])
    assert after.record.core_sha256 == before.record.core_sha256


def test_teaching_can_start_at_the_nearest_latent_or_at_the_description(tiny: Tiny) -> None:
    for start, control, data in (("nearest", "nearest_latent", {}), ("description", "described", UNSEEN)):
        train = TrainConfig(epochs=1, rounds_per_epoch=3, lr_latent=0.3, latent_start=start)
        taught = new_tasks(tiny, "taught", train, **{**data, "size": 4})

        assert torch.equal(taught.latents, new_tasks(tiny, control, **data).latents)


TEACHING = TrainConfig(epochs=3, lr_latent=0.3, batch_size=4)


def taught_pack(
    tiny: Tiny, tasks: tuple[str, ...] = NEW, counts: Mapping[str, int] | None = None
) -> tuple[Pack, TaughtLatents]:
    run = make_run("taught", "small", data={"tasks": tasks, "size": 9}, train=TEACHING)
    pack = tiny.pack(run, counts=counts)
    (learner,) = pack.learners
    assert isinstance(learner, TaughtLatents)
    return pack, learner


def test_only_latents_of_new_tasks_train_and_all_else_stays_to_the_last_bit(
    tiny: Tiny, tmp_path: Path
) -> None:
    pack, learner = taught_pack(tiny)
    before = Artifact.load(tiny.source)
    assert torch.equal(learner.latents[0], before.mean_latent)

    run_to_end(pack)
    after = saved(learner, tmp_path)

    assert after.config.tasks == (*OLD, *NEW)
    for name, value in before.tensors.items():
        found = after.tensors[name]
        assert torch.equal(found[: len(OLD)] if name == "task_latents" else found, value), name
    assert not torch.equal(after.latents["sums"], before.mean_latent)
    assert learner.num_trained_params == before.config.d_z
    assert after.calibrated == OLD
    cores = {after.record.core_sha256, after.record.lineage.source.core_sha256}
    assert cores == {before.record.core_sha256}


def test_a_latent_follows_plain_adamw_on_the_tasks_own_loss(tiny: Tiny) -> None:
    """The oracle: one task, its factors from the artifact's core and converter, torch's own optimiser."""
    pack, learner = taught_pack(tiny)
    artifact, base = Artifact.load(tiny.source), tiny.bases["small"]
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
        advance(pack)

    torch.testing.assert_close(learner.latents, latent, rtol=1e-4, atol=1e-5)


def test_tasks_are_taught_in_one_pack_as_alone(tiny: Tiny, tmp_path: Path) -> None:
    """Tasks of unequal numbers of rows take unequal numbers of steps, each as if it were alone."""
    run, fewer = make_run("source", "small", data={"tasks": OLD[:1]}), {"names": 4}
    tiny.learner(run).save_artifact(tmp_path, RunRecord.of(run))
    fresh = replace(tiny, source=tmp_path / "small")
    found = {}
    for tasks in (("names", "sums"), ("names",), ("sums",)):
        pack, learner = taught_pack(fresh, tasks, fewer)
        run_to_end(pack)
        found[tasks] = learner

    together = found["names", "sums"]
    assert [each.tasks for each in together.optimisers] == [("sums",), ("names",)]
    alone = found["names",].trained_latents() | found["sums",].trained_latents()
    torch.testing.assert_close(together.trained_latents(), alone)
