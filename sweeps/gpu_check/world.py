"""`CheckWorld`: embedded bases, rows and runs, on the device that is checked and on the CPU in fp32."""

import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base, load_base, with_fused_operations
from portal.bases.precision import cpu_has_bf16
from portal.config import DeviceKind, Precision, RunConfig
from portal.data.token_cache import read_cache
from portal.data.token_rows import RowTable
from portal.device import torch_threads, usable_cores
from portal.learners.base import Learner, Start, build_learner, named_generator
from portal.training.pack import Pack
from sweeps.launch.tokenize import prepare_rows
from sweeps.study.context import StudyContext
from sweeps.study.expand import Study, expand
from sweeps.study.study_file import StudyFile

Where = Literal["reference", "fp32", "own"]
"""The CPU in fp32; the device in fp32, and in the precision of studies."""
GPU_SHAPE, CPU_SHAPE, CPU_BF16_SHAPE = "qwen3-1.7b", "mini-qwen3-m", "smollm2-135m"
"""Whose shape the base has on which steps and scoring are timed, unless another is named."""
LABELS = ("lora", "hypernet", "portal", "portal-choices")
"""Runs of every kind of gradient that a step has."""
SOURCE, TARGET, SLIDING = "mini-qwen3-xs", "mini-qwen3-s", "mini-gemma3"
STEPS = 20
"""That the runs have: five epochs of 16 rows, 4 of each task at a time."""
_NOISE = 0.02
_TRAIN = {"epochs": 5, "evaluate": "last_epoch", "batch_size": 4}
_JOINT = {**_TRAIN, "hypernet_products": "fp32"}  # TF32 would be most of the error of lines in fp32
_SMALL = {"d_latent": 32, "d_layer": 16, "hidden": 64, "d_core": 48}
_STUDY = {
    "name": "gpu-check",
    "tasks": ["fact_qa", "passage_yesno", "counting"],
    "sources": [SOURCE],
    "targets": [TARGET, SLIDING],
    "seeds": [0],
    "methods": {
        "source": {"size": 16, "hypernet": _SMALL, "train": _JOINT},
        "lora": {"size": 16, "train": _TRAIN},
        "hypernet": {"size": 16, "hypernet": _SMALL, "train": _JOINT},
        "portal": {"size": 16, "train": _JOINT},
        "portal-choices": {"method": "portal", "size": 16, "train": {**_JOINT, "choice_loss": 1.0}},
    },
}


class CheckWorld:
    """What the checks share, made once. `scratch` is a folder for what they write.

    `workers` is the number of processes that a machine can have side by side here: its GPUs, or two cores.
    `timed` is the base whose steps are timed: one of the shape `shape` with random weights, or the base
    `base` itself; `halved` is that whose steps are timed in bf16 on a CPU.
    """

    def __init__(
        self,
        device: str,
        scratch: Path,
        *,
        gpus: int | None = None,
        shape: str | None = None,
        base: str | None = None,
    ) -> None:
        self.device, self.scratch = torch.device(device), scratch
        there = torch.cuda.device_count() if self.is_gpu else 0
        if gpus is not None and gpus > there:
            raise ValueError(f"--gpus {gpus}: this machine has {there} that can be checked on {device!r}")
        named = base or (None if shape is None else _named_shape(shape))
        self.timed = named or (GPU_SHAPE if self.is_gpu else CPU_SHAPE)
        self.halved = named or CPU_BF16_SHAPE
        self.is_random = base is None
        self._gpus = gpus
        self._bases: dict[tuple[str, str], Base] = {}

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def device_kind(self) -> DeviceKind:
        """What studies call the device."""
        return "cuda" if self.is_gpu else "cpu"

    @property
    def workers(self) -> int:
        """Processes that have a GPU each, or a core."""
        if self.is_gpu:
            return self._gpus or torch.cuda.device_count()
        return min(2, usable_cores())

    @property
    def lone_worker(self) -> str:
        """Why there is but one of them."""
        if not self.is_gpu:
            return "there is one CPU core"
        return "there is one GPU" if self._gpus is None else "one GPU was asked for (--gpus)"

    @property
    def own_precision(self) -> Precision | None:
        """The precision of bases in studies here that is not fp32; None where there is none."""
        if self.is_gpu:
            return "default"
        return "bf16" if cpu_has_bf16() else None

    def run(self, label: str, base: str = TARGET) -> RunConfig:
        """The run that is listed under `label`."""
        names = self._study.labels
        return next(run for run in self._study.runs if names[run.key] == label and run.bases[0].name == base)

    def base(self, name: str, where: Where) -> Base:
        """The base there; every place has weights of its own."""
        if (name, where) not in self._bases:
            self._bases[name, where] = self.load(name, where)
        return self._bases[name, where]

    def rows(self, name: str) -> RowTable:
        """The tokens of the base's rows."""
        return self._rows[name]

    def pack(self, labels: Sequence[str], where: Where, base: str = TARGET) -> Pack:
        """A pack of learners of these runs, fresh but for some noise in all that they train."""
        return self.pack_on(self.base(base, where), [self.run(label, base) for label in labels])

    def pack_on(self, base: Base, runs: Sequence[RunConfig]) -> Pack:
        """The same of any runs on this base, which need not be one of those that the world keeps."""
        bases, rows = {base.name: base}, {base.name: self.rows(base.name)}
        starts = [Start(self._source_artifact) if run.spec.parents else None for run in runs]
        learners = [
            build_learner(run, bases, rows, start=start) for run, start in zip(runs, starts, strict=True)
        ]
        for learner in learners:
            _stir(learner)
        return Pack(bases, rows, learners)

    def load(self, name: str, where: Where) -> Base:
        """The base, loaded anew."""
        if where == "own":
            assert self.own_precision is not None, "the CPU has no precision but fp32"
            return load_base(name, device=str(self.device), precision=self.own_precision, operations="fused")
        base = load_base(name, operations="plain")
        if where == "reference":
            return base
        return with_fused_operations(replace(base, model=copy.deepcopy(base.model).to(self.device)))

    @cached_property
    def _study(self) -> Study:
        settings = StudyFile.model_validate(_STUDY)
        return expand(settings, StudyContext.open(settings))

    @cached_property
    def _rows(self) -> dict[str, RowTable]:
        study = self._study
        folders = prepare_rows(study.suite, study.data, study.bases, self.scratch)
        return {base: read_cache(folder) for base, folder in folders.items()}

    @cached_property
    def _source_artifact(self) -> Path:
        """A source's artifact after a step on the CPU, from which ports start."""
        pack = self.pack(["source"], "reference", SOURCE)
        with torch_threads(1):
            pack.step()
        learner = pack.learners[0]
        learner.save_artifact(self.scratch / "source", RunRecord.of(learner.run))
        return self.scratch / "source" / SOURCE


def _named_shape(text: str) -> str:
    """The base that a shape names; a size alone (`8b`) is that of a Qwen3."""
    return f"qwen3-{text.lower()}" if re.fullmatch(r"[\d.]+[bB]", text) else text


def _stir(learner: Learner) -> None:
    """Move all that trains off its start, where adapters are zero and half of the gradients are, too."""
    for name, tensor in learner.artifact_tensors(learner.tasks).items():
        noise = torch.randn(tensor.shape, generator=named_generator(0, name))
        tensor.data.add_(_NOISE * noise.to(tensor.device))


def gradient(learner: Learner) -> Tensor:
    """The gradients of a learner's steps, all in one vector on the CPU, as its optimiser remembers them."""
    moments = [t for name, t in sorted(learner.tensors().items()) if name.endswith("exp_avg")]
    assert moments, "a learner that has stepped has moments"
    return torch.cat([moment.detach().float().cpu().flatten() for moment in moments])


def distance(ours: Tensor, theirs: Tensor) -> float:
    """||ours - theirs|| / ||theirs||."""
    return float((ours - theirs).norm() / theirs.norm())
