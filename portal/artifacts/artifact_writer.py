"""`save_artifact`: writes what a hypernetwork run has trained for one base as a portable artifact."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_config import (
    ArtifactConfig,
    core_modules,
    in_needed_format,
    projection_targets,
)
from portal.artifacts.artifact_files import CARD, CONFIG, WEIGHTS
from portal.artifacts.peft_targets import namesakes
from portal.artifacts.portal_record import (
    RECORD,
    PortalRecord,
    SourceRecord,
    TaskRecord,
    core_sha256,
    latent_sha256,
)
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.bases.sites import count_groups, group_sites, name_modules
from portal.config import AdapterConfig, HypernetConfig
from portal.hypernet import Converter, CoreDecoder
from portal.methods import find_method
from portal.storage.atomic import json_bytes, write_bytes_atomic
from portal.text.text_map import TEXT_MAP, TextMap


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
