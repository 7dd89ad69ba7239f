"""Metrics of whole tasks on a base as it is, `score_tasks`, or with a PEFT adapter, `score_adapter`.

An adapter is applied once every tensor of it is known to belong to the base.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from portal.answers import AnswerConfig
from portal.artifacts.adapted_base import peft_adapted
from portal.artifacts.adapter_record import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter_files,
    read_adapter_record,
)
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.evaluate.loglikelihood import Scored, TaskMetrics, score_rows, summarise
from portal.evaluate.written import ToWrite, write_answers


def score_tasks(
    base: Base, rows: Mapping[str, Sequence[TokenRow]], answers: Mapping[str, AnswerConfig]
) -> dict[str, TaskMetrics]:
    """Metrics by task, with the adapters that are active; `answers` are of the tasks that are written.

    Raises what `score_rows` and `write_answers` do.
    """
    parts = {task: ToWrite(own, None, answers[task]) for task, own in rows.items() if task in answers}
    judged = dict(zip(parts, write_answers(base, list(parts.values()), {}, 1.0), strict=True))
    found = {}
    for task, own in rows.items():
        scored: list[Scored] = score_rows(base, own)
        if task in judged:
            pairs = zip(scored, judged[task], strict=True)
            scored = [replace(item, judged=each) for item, each in pairs]
        found[task] = summarise(scored, answers[task].metric if task in answers else None)
    return found


def find_adapters(folder: Path) -> list[Path]:
    """The folder itself if it is an adapter, else those right below it; ValueError when there are none."""
    if (folder / ADAPTER_CONFIG).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{ADAPTER_CONFIG}"))
    if not found:
        raise ValueError(
            f"{folder}: no {ADAPTER_CONFIG} in it or right below; not a PEFT adapter "
            "(`portal export` writes one)"
        )
    return found


def score_adapter(
    base: Base,
    folder: Path,
    rows: Mapping[str, Sequence[TokenRow]],
    answers: Mapping[str, AnswerConfig] | None = None,
) -> dict[str, TaskMetrics]:
    """Metrics by task of `base` with the adapter; ValueError when it is another base's or damaged.

    `answers` are of the tasks whose answers are written.
    """
    check_adapter(base, folder)
    with peft_adapted(base, folder):
        return score_tasks(base, rows, answers or {})


def check_adapter(base: Base, folder: Path) -> None:
    """ValueError unless the folder holds a plain LoRA adapter, each tensor of a projection of `base`.

    An adapter whose record or run says that it was another when it was written is refused, too.
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}; not a PEFT adapter (`portal export` writes one)")
    rank = _adapter_rank(folder / ADAPTER_CONFIG)
    path = folder / ADAPTER_WEIGHTS
    widths = {site.path: (site.d_in, site.d_out) for site in base.sites}
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged weights ({error})") from None
    record = read_adapter_record(folder)
    check_adapter_files(folder, record)
    made_for = None if record is None else record.revision
    if made_for is not None and made_for != base.revision:
        raise ValueError(
            f"{folder}: made for a base of revision {made_for[:12]}, {base.name!r} is {base.revision[:12]}"
        )
    if not shapes:
        raise ValueError(f"{path}: holds no tensors")
    for name, shape in shapes.items():
        target, _, factor = name.removeprefix("base_model.model.").rpartition(".lora_")
        if factor not in ("A.weight", "B.weight"):
            raise ValueError(f"{path}: {name} is no factor of a plain LoRA adapter")
        if shape[factor[0] == "B"] != rank:
            raise ValueError(f"{path}: {name} {tuple(shape)} is not of rank {rank}, which its config says")
        fits = target in widths and widths[target][factor[0] == "B"] == shape[factor[0] == "A"]
        if not fits:
            raise ValueError(
                f"{folder}: {name} {tuple(shape)} fits no projection of base {base.name!r}; another base's?"
            )


def _adapter_rank(path: Path) -> int:
    """The `r` of an adapter config; ValueError when it is not that of a LoRA adapter."""
    try:
        config = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    if (
        not isinstance(config, dict)
        or config.get("peft_type") != "LORA"
        or not isinstance(config.get("r"), int)
    ):
        raise ValueError(f"{path}: not the config of a LoRA adapter")
    if not isinstance(config.get("init_lora_weights", True), bool):
        raise ValueError(
            f"{path}: init_lora_weights is {config['init_lora_weights']!r}, by which peft may change the "
            "base's own weights; set it to true, the adapter's tensors are read anyway"
        )
    return config["r"]
