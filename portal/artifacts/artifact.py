"""`Artifact`: the portable result of a run: task latents, core and one base's converter, loaded or written.

`config.json`, `model.safetensors` (`task_latents`, `core.*`, `alignment.*`; metadata format=portallib) and a
model card are the reference library's: what is written here loads in portallib, and the other way round.
`portal.json` beside them is this project's own.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from portal.artifacts.adapter_record import check_place
from portal.artifacts.artifact_files import (
    CARD,
    CONFIG,
    RECORD,
    WEIGHTS,
    ArtifactConfig,
    PortalRecord,
    SourceRecord,
    TaskRecord,
    check_digests,
    core_modules,
    core_sha256,
    fetch_artifact,
    in_needed_format,
    latent_sha256,
    projection_targets,
    read_config,
    read_record,
    read_tensors,
)
from portal.artifacts.model_card import RunRecord, read_run_record
from portal.artifacts.peft_adapter import namesakes, write_adapter
from portal.bases.base import Base
from portal.bases.sites import SiteGroup, count_groups, group_sites, name_modules
from portal.config import AdapterConfig, HypernetConfig
from portal.forward.adapter_hooks import adapted
from portal.hypernet import Converter, CoreDecoder, Factors
from portal.messages import nearest
from portal.methods import find_method
from portal.storage.atomic import json_bytes, write_bytes_atomic
from portal.storage.checkpoint import below
from portal.storage.paths import file_sha256
from portal.storage.records import enclosing_run
from portal.text.encoder import Encoder, check_library, find_encoder
from portal.text.text_map import TEXT_MAP, TextMap

KeyLayout = Literal["base", "text"]


@dataclass(frozen=True)
class Artifact:
    """A loaded artifact. `tensors` have the format's names; `record` is None for one that portallib wrote.

    `text_map` leads from descriptions to latents, where the source was trained with descriptions. `taught_by`
    has the tasks whose latents were taken from another artifact, and that one.
    """

    folder: Path
    config: ArtifactConfig
    tensors: dict[str, Tensor]
    record: PortalRecord | None = None
    text_map: TextMap | None = None
    taught_by: Mapping[str, "Artifact"] = field(default_factory=dict)

    @classmethod
    def load(cls, location: str | Path) -> "Artifact":
        """The artifact in a folder, or at a hub id like `RampPublic/portal-qwen3-4b` or `ORG/NAME@REVISION`.

        ValueError, in one line, when it is missing, of another format, damaged, altered since it was written,
        or its tensors do not fit its config.
        """
        folder = fetch_artifact(location)
        record = read_record(folder)
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            check_digests(folder, record)
        config = read_config(folder / CONFIG)
        tensors, text = read_tensors(folder / WEIGHTS, config), folder / TEXT_MAP
        text_map = TextMap.read(text, width=config.d_z) if text.is_file() else None
        artifact = cls(folder, config, tensors, record, text_map)
        if record is not None:
            record.check_tensors(folder, artifact.latents, artifact.tensors)
        return artifact

    def frozen_core(
        self, tasks: tuple[str, ...], adapter: AdapterConfig, hypernet: HypernetConfig
    ) -> tuple[nn.Parameter, CoreDecoder]:
        """Latents of `tasks`, (T, d_z), and the core; ValueError when other shapes are wanted."""
        mine = {**self.config.adapter.model_dump(), **self.config.hypernet.model_dump()}
        for name, wanted in {**adapter.model_dump(), **hypernet.model_dump()}.items():
            same = set(wanted) == set(mine[name]) if name == "modules" else wanted == mine[name]
            if not same:
                raise ValueError(
                    f"{self.folder}: the artifact has {name} {mine[name]}, the run wants {wanted}"
                )
        rows = [self.task_index(task) for task in tasks]
        core = CoreDecoder(hypernet, adapter, torch.Generator())
        core.load_state_dict(below(self.tensors, "core."))
        return nn.Parameter(self.tensors["task_latents"][rows].clone()), core

    @cached_property
    def latents(self) -> dict[str, Tensor]:
        """The latent of every task, (d_z,)."""
        return dict(zip(self.config.tasks, self.tensors["task_latents"], strict=True))

    @property
    def layer_embeddings(self) -> Tensor:
        """Those of the artifact's own base, (L, d_e)."""
        return self.tensors["alignment.layer_embeddings.weight"]

    @property
    def task_records(self) -> Mapping[str, TaskRecord]:
        """What is recorded of each task, by the artifact that its latent is of; portallib records nothing."""
        own = {} if self.record is None else self.record.tasks
        others = {
            task: taught.task_records[task]
            for task, taught in self.taught_by.items()
            if task in taught.task_records
        }
        return {**own, **others}

    def task_index(self, task: str) -> int:
        """The task's row in the latent table; ValueError with the nearest name."""
        if task not in self.config.tasks:
            raise ValueError(
                f"{self.folder}: the artifact has no task {task!r}{nearest(task, self.config.tasks)}"
            )
        return self.config.tasks.index(task)

    def factors(self, tasks: tuple[str, ...]) -> Factors:
        """Adapter factors of `tasks` on the artifact's own base; the base is not loaded."""
        rows = [self.task_index(task) for task in tasks]
        return self._generate(self.tensors["task_latents"][rows])

    def _generate(self, latents: Tensor) -> Factors:
        """The factors of any latents, (T, d_z), by the artifact's own core and converter."""
        _, core = self.frozen_core((), self.config.adapter, self.config.hypernet)
        with torch.no_grad():
            return self.converter()(core, latents)

    def converter(self) -> Converter:
        """That of the artifact's own base."""
        converter = self.config.converter()
        converter.load_state_dict(below(self.tensors, "alignment."))
        return converter

    def mean_factors(self) -> Factors:
        """Adapter factors, (1, ...), of the mean latent."""
        return self._generate(self.mean_latent[None])

    @property
    def mean_latent(self) -> Tensor:
        """The mean of the calibrated tasks' latents, (d_z,); of all where none is recorded."""
        return torch.stack([self.latents[task] for task in self.known_tasks]).mean(0)

    @property
    def known_tasks(self) -> tuple[str, ...]:
        """The tasks that the converter was trained with; all where none is recorded."""
        return self.calibrated or self.config.tasks

    def described_latents(self, descriptions: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
        """By task the mean of the latents that its phrasings stand for, (d_z,).

        ValueError where the artifact has no map, or its encoder is not here.
        """
        encoder = self.find_encoder()
        assert self.text_map is not None
        return {
            task: self.text_map.latents(encoder.embed(phrasings)).mean(0)
            for task, phrasings in descriptions.items()
        }

    def find_encoder(self) -> Encoder:
        """That of the descriptions which the artifact understands.

        ValueError where its source was trained without any, or the encoder is not here.
        """
        if self.text_map is None:
            raise ValueError(
                f"{self.folder}: its source was trained without descriptions and understands none; `portal "
                "train --text-encoder minilm` trains one with them"
            )
        check_library()
        return find_encoder(self.text_map.encoder, sha256=self.text_map.encoder_sha256)

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The tasks on whose rows the converter was trained; none where that is not recorded."""
        return () if self.record is None else self.record.calibrated(self.config.tasks)

    def with_latents_of(self, taught: "Artifact") -> "Artifact":
        """This artifact with the tasks of `taught` that it lacks, at their latents; nothing is written.

        ValueError where the other's latents have another width, where its core is not the same to the last
        bit, or where a task of both has two latents.
        """
        width, theirs_width = self.config.d_z, taught.config.d_z
        if width != theirs_width:
            raise ValueError(
                f"{taught.folder}: its latents have {theirs_width} numbers, those of {self.folder} {width}: "
                "they are of different cores"
            )
        own, others = core_sha256(self.tensors), core_sha256(taught.tensors)
        if own != others:
            raise ValueError(
                f"{taught.folder}: its latents are for the core {others[:12]}; {self.folder} has the core "
                f"{own[:12]}, which takes latents of artifacts that were taught, ported or trained with it"
            )
        mine, theirs = self.latents, taught.latents
        for task in mine.keys() & theirs.keys():
            if not mine[task].equal(theirs[task]):
                raise ValueError(
                    f"{taught.folder}: task {task!r} has another latent than in {self.folder}; teach it "
                    "under another name"
                )
        new = {task: taught for task in theirs if task not in mine}
        return replace(self.with_tasks(mine | theirs), taught_by={**self.taught_by, **new})

    def with_tasks(self, latents: Mapping[str, Tensor]) -> "Artifact":
        """This artifact with exactly these tasks, at these latents; nothing is written."""
        return replace(
            self,
            config=self.config.with_tasks(latents),
            tensors=self.tensors | {"task_latents": torch.stack(list(latents.values()))},
        )

    @contextmanager
    def applied(self, base: Base, task: str) -> Iterator[None]:
        """Every forward of `base` in the block has the adapter of `task`; ValueError for another base."""
        self.check_base(base)
        with adapted(base, self.factors((task,)), self.config.adapter.scaling):
            yield

    def check_base(self, base: Base) -> None:
        """ValueError, saying what differs, unless the converter was made for these widths and weights."""
        config = self.config
        unlike = _unlike_widths(group_sites(base.sites, config.adapter.modules), config.groups)
        if unlike is None and config.base_model_revision not in (None, base.revision):
            unlike = f"is of revision {base.revision[:12]}, not {str(config.base_model_revision)[:12]}"
        if unlike is not None:
            raise ValueError(
                f"{self.folder}: made for base {config.base_model_name_or_path!r}; {base.name!r} {unlike}; "
                f"`portal port {self.folder} --to {base.name} --out DIR` makes an artifact for it"
            )

    def export_peft(self, task: str, folder: Path, *, layout: KeyLayout = "base") -> None:
        """Write the adapter of `task` as a PEFT folder; the base is not loaded.

        Keys follow the base's own layout; `layout="text"` writes those of its text-only class for a base
        whose decoder lies inside a multimodal model. ValueError where the base has no other layout, and where
        the folder holds anything but an adapter of the same task and base, which is replaced.
        """
        config, made_for = self.config, self.config.adapter_record(task)
        check_place(folder, made_for)
        named = {
            _in_layout(config.path(group.module, layer), layout): (a[0, index], b[0, index])
            for group, (a, b) in self.factors((task,)).items()
            for index, layer in enumerate(group.layers)
        }
        write_adapter(
            folder,
            named,
            adapter=config.adapter,
            made_for=made_for,
            modules=name_modules(count_groups(config.groups), config.n_layers),
            record=self.run_record,
            left_alone=config.namesakes,
        )

    @cached_property
    def run_record(self) -> RunRecord | None:
        """What the run that made the artifact left beside it; None for an artifact from elsewhere."""
        found = read_run_record(self.folder)
        if found is None:
            return None
        taught_by = {task: taught.run_record for task, taught in self.taught_by.items()}
        found = replace(found, taught_by=taught_by)
        if self.record is None:
            return found
        epochs = {task: each.epoch for task, each in self.record.tasks.items() if each.epoch is not None}
        return replace(found, epochs=epochs)

    def as_source(self) -> SourceRecord:
        """How the lineage of a port names this artifact; a run of an older version is known by its folder."""
        folder = enclosing_run(self.folder)
        run = None if folder is None else folder.name
        return SourceRecord(
            run=run if self.record is None else self.record.lineage.run,
            base=self.config.base_model_name_or_path,
            base_revision=self.config.base_model_revision,
            weights_sha256=file_sha256(self.folder / WEIGHTS),
            core_sha256=core_sha256(self.tensors),
        )


def _unlike_widths(found: tuple[SiteGroup, ...], wanted: tuple[SiteGroup, ...]) -> str | None:
    """What a base has, and what the artifact is for, where a projection is wider, narrower or missing."""
    have, want = (
        {(group.module, layer): (group.d_out, group.d_in) for group in groups for layer in group.layers}
        for groups in (found, wanted)
    )
    for module, layer in sorted(have.keys() | want.keys(), key=lambda place: (place[1], place[0])):
        mine, theirs = have.get((module, layer)), want.get((module, layer))
        if mine is None:
            return f"has no {module} in layer {layer}"
        if theirs is None:
            return f"has a further {module} in layer {layer}"
        if mine != theirs:
            return f"has a {module} of {mine[0]} x {mine[1]} in layer {layer}, not {theirs[0]} x {theirs[1]}"
    return None


def _in_layout(path: str, layout: KeyLayout) -> str:
    if layout == "base":
        return path
    head, inner, rest = path.partition("language_model.")
    if not inner:
        raise ValueError(
            "layout 'text' is for bases inside a multimodal model; this base is text-only already"
        )
    return f"model.{rest.removeprefix('model.')}" if head in ("model.", "") else path


@dataclass(frozen=True)
class TrainedHypernet:
    """The latents of tasks, the core, and the converter of one base.

    `calibrated` are the tasks on whose rows the converter was trained; `source` is the artifact that latents
    and core were taken from, None where they were trained, too.
    """

    latents: Mapping[str, Tensor]
    adapter: AdapterConfig
    hypernet: HypernetConfig
    core: CoreDecoder
    converter: Converter
    calibrated: Collection[str]
    source: SourceRecord | None = None
    text: TextMap | None = None  # that of joint training with descriptions
    known: Mapping[str, TaskRecord] = field(default_factory=dict)  # of tasks that another run trained

    def tensors(self) -> dict[str, Tensor]:
        """All parameters by the format's names, on the CPU."""
        tensors = {"task_latents": torch.stack(list(self.latents.values()))}
        tensors |= {f"core.{name}": value for name, value in self.core.state_dict().items()}
        tensors |= {f"alignment.{name}": value for name, value in self.converter.state_dict().items()}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def save_artifact(folder: Path, *, base: Base, trained: TrainedHypernet, record: RunRecord) -> None:
    """Write the artifact of `base` into `folder`, the config last."""
    tensors = trained.tensors()
    config = _config(base, trained)
    metadata = {"format": "portallib", "format_version": str(config.format_version)}
    contents = {
        WEIGHTS: save(tensors, metadata=metadata),
        CARD: _card(config).encode(),
        CONFIG: json_bytes(config.as_json()),
    }
    if trained.text is not None:
        contents = {TEXT_MAP: trained.text.to_bytes(), **contents}
    own = PortalRecord(
        files={name: hashlib.sha256(contents[name]).hexdigest() for name in contents if name != CARD},
        core_sha256=core_sha256(tensors),
        tasks={
            task: TaskRecord(
                latent_sha256=latent_sha256(latent),
                calibrated=task in trained.calibrated,
                epoch=record.epochs.get(task),
                **_of_rows(task, trained, record),
            )
            for task, latent in trained.latents.items()
        },
        lineage=record.lineage(base, trained.source),
    )
    contents = {RECORD: json_bytes(own.model_dump(mode="json")), **contents}
    for name, data in contents.items():
        write_bytes_atomic(folder / name, data)


def _of_rows(task: str, trained: TrainedHypernet, record: RunRecord) -> dict[str, Any]:
    """What the record says of a task's rows: by this run where it gave the latent, else by an earlier one."""
    data = record.config["data"]
    if task in data["tasks"] and task not in trained.known:
        tested = record.scores(task) is not None if find_method(record.config["method"]).trains else None
        return {"kind": "written" if task in data.get("answers", {}) else "choice", "tested": tested}
    known = trained.known.get(task)
    return {} if known is None else {"kind": known.kind, "tested": known.tested}


def save_more_tasks(
    folder: Path,
    artifact: Artifact,
    latents: Mapping[str, Tensor],
    *,
    source: SourceRecord,
    base: Base,
    record: RunRecord,
) -> None:
    """Write the artifact of `base` with its old tasks, bit for bit, then new ones.

    `source` is how the artifact is named; its own folder need not be there any more.
    """
    config = artifact.config
    _, core = artifact.frozen_core((), config.adapter, config.hypernet)
    trained = TrainedHypernet(
        artifact.latents | {task: latent.detach().cpu() for task, latent in latents.items()},
        config.adapter,
        config.hypernet,
        core,
        artifact.converter(),
        calibrated=artifact.calibrated,
        source=source,
        text=artifact.text_map,
        known=artifact.task_records,
    )
    save_artifact(folder, base=base, trained=trained, record=record)


def _config(base: Base, trained: TrainedHypernet) -> ArtifactConfig:
    """The config of the artifact, in format 1 unless modules stand in for others or peft mistakes some."""
    adapter, hypernet = trained.adapter, trained.hypernet
    groups = group_sites(base.sites, adapter.modules)
    return in_needed_format(
        base_model_name_or_path=base.public_name,
        base_model_revision=base.revision,
        tasks=tuple(trained.latents),
        n_layers=base.num_layers,
        projection_targets=tuple(projection_targets(groups)),
        rank=adapter.rank,
        alpha=adapter.alpha,
        d_z=hypernet.d_latent,
        d_layer=hypernet.d_layer,
        hidden=hypernet.hidden,
        d_core=hypernet.d_core,
        layer_path=base.layer_path,
        core_modules=core_modules(groups, adapter),
        namesakes=namesakes(base, groups),
    )


def _card(config: ArtifactConfig) -> str:
    tasks = "\n".join(f"- `{task}`" for task in config.tasks)
    modules = name_modules(count_groups(config.groups), config.n_layers)
    special = ""
    if config.core_modules or config.namesakes:
        special = " Layers of this base are not Llama's; only portal-sweeps reads this format."
    return (
        f"---\nbase_model: {config.base_model_name_or_path}\nlibrary_name: portallib\n"
        "tags:\n- lora\n- portal\n---\n\n"
        f"# PorTAL artifact for {config.base_model_name_or_path}\n\n"
        f"Task latents, core decoder and this base's converter (revision `{config.base_model_revision}`). "
        f"It generates rank-{config.rank} LoRA adapters (alpha {config.alpha}) for {modules}.{special}\n\n"
        f"## Tasks\n\n{tasks}\n\n"
        "## Use\n\n`portal export FOLDER --task TASK --out DIR` writes a PEFT adapter; "
        "`portal port FOLDER --to BASE --out DIR` carries the tasks to another base.\n"
    )
