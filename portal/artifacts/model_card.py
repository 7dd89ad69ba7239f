"""`RunRecord`: what a run leaves beside its artifact; from it the model card of an exported adapter.

The card says what the adapter is, how it was made, what it scored, and whose terms apply.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal import embedded
from portal.artifacts.adapter_record import AdapterRecord
from portal.artifacts.artifact_files import Lineage, SourceRecord
from portal.artifacts.serving import vllm_rank
from portal.bases.base import Base
from portal.bases.family import IMAGE_FAMILIES
from portal.bases.registry import list_bases, public_name, published_config, weights_note
from portal.config import AdapterConfig, BaseRef, RunConfig
from portal.methods import find_method
from portal.results import ACC_NORM, RESULTS, RESULTS_FILE, read_table
from portal.storage.records import RUN, enclosing_run
from portal.tasks.example import WITHOUT_ROWS

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class RunRecord:
    """A run's key, its config as JSON, its result rows, and the versions of the packages that it began with.

    `epochs` says by task which epoch's parameters the artifact has: the last one where a task is not in it.
    `taught_by` has, by task whose latent comes from another artifact, that one's record, or None.
    """

    key: str
    config: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    epochs: Mapping[str, int] = field(default_factory=dict)
    taught_by: Mapping[str, "RunRecord | None"] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunConfig) -> "RunRecord":
        """The record of a run of which nothing but the config is known."""
        return cls(run.key, run.model_dump(mode="json"))

    def made(self, task: str) -> bool:
        """Whether the run itself gave the task what the artifact has of it."""
        return task in self.config["data"]["tasks"] and task not in self.taught_by

    def maker(self, task: str) -> "RunRecord | None":
        """The record of the run that gave the task its latent: this one, or that of another artifact's."""
        if self.made(task):
            return self
        taught = self.taught_by.get(task)
        return taught if taught is not None and taught.made(task) else None

    def scores(self, task: str) -> Mapping[str, Any] | None:
        """The row of the result table for `task` on test rows, at the epoch that the artifact is of."""
        rows = [row for row in self.results if (row["task"], row["split"]) == (task, "test")]
        if task in self.epochs:
            rows = [row for row in rows if row["epoch"] == self.epochs[task]]
        return max(rows, key=lambda row: row["epoch"], default=None)

    def lineage(self, base: Base, source: SourceRecord | None) -> Lineage:
        """The lineage of the run's artifact for `base`; `source` is the artifact that a port starts from."""
        precisions = {ref["name"]: ref["precision"] for ref in self.config["bases"]}
        return Lineage(
            run=self.key,
            method=self.config["method"],
            seed=self.config["seed"],
            base=BaseRef(name=base.public_name, revision=base.revision, precision=precisions[base.name]),
            source_bases=self.config["source_bases"],
            source=source,
            versions=dict(self.versions),
        )


def read_run_record(artifact: Path) -> RunRecord | None:
    """The record in the run's folder that holds `artifact`; None for an artifact from elsewhere."""
    folder = enclosing_run(artifact)
    if folder is None or not (folder / RUN).is_file() or not (folder / RESULTS_FILE).is_file():
        return None
    recorded = json.loads((folder / RUN).read_bytes())
    try:
        results = read_table(folder / RESULTS_FILE, RESULTS).to_pylist()
    except ValueError:
        results = []  # written by a newer version: the card says that scores are not recorded
    epochs = {row["task"]: row["epoch"] for row in results if row["kept"]}
    return RunRecord(folder.name, recorded["config"], results, recorded.get("versions", {}), epochs)


def adapter_card(
    made_for: AdapterRecord, *, adapter: AdapterConfig, modules: str, record: RunRecord | None
) -> str:
    """The text of README.md, with the metadata that hubs read at its head.

    `modules` names those of the base that are adapted.
    """
    task, base, revision = made_for.task, made_for.base, made_for.revision
    facts = [
        ("base", f"`{base}`"),
        ("revision of the base", f"`{revision}`" if revision else NOT_RECORDED),
        ("task", f"`{task}`"),
        (
            "adapter",
            f"rank {adapter.rank}, alpha {adapter.alpha}, projections {modules}; "
            "no dropout, no bias, no patterns",
        ),
        *_training_facts(task, base, record),
        ("licence of the base", _base_licence(base)),
        ("licence of the task's rows", _task_licence(task, record)),
    ]
    table = "".join(f"| {name} | {value} |\n" for name, value in facts)
    note, loader = weights_note(base), _loader(base)
    place = base if "/" in base else "FOLDER_OF_THE_BASE"  # a hub id, or no name that others can load
    served = vllm_rank(adapter.rank) or "RANK (above vLLM's greatest)"
    warning = f"\nThe base's weights: {note}.\n" if note is not None else ""
    return (
        f"---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\n"
        "tags:\n- lora\n- portal\n---\n\n"
        f"# LoRA adapter: {task}\n\nA standard PEFT adapter for task `{task}` on `{base}`.\n{warning}\n"
        f"| | |\n|---|---|\n{table}\n"
        f"## Use\n\n```python\nfrom peft import PeftModel\nfrom transformers import {loader}\n\n"
        f'model = PeftModel.from_pretrained({loader}.from_pretrained("{place}"), "THIS_FOLDER")\n'
        "```\n\n```sh\n"
        f"vllm serve {place} --enable-lora --max-lora-rank {served} "
        f"--lora-modules {task}=THIS_FOLDER\n```\n"
    )


def _training_facts(task: str, base: str, record: RunRecord | None) -> Iterable[tuple[str, str]]:
    if record is None:
        return [("training", NOT_RECORDED), ("scores", NOT_RECORDED)]
    if not record.made(task):
        return _facts_of_others(task, base, record)
    facts = [
        ("made by", _made_by(record)),
        ("data", _data(task, record)),
        ("seed", str(record.config["seed"])),
        *_precision_facts(record.config),
    ]
    scores = record.scores(task)
    if scores is None:
        return [*facts, ("scores", NOT_RECORDED)]
    loss = f"log-loss {scores['log_loss']:.3f} nats a token"
    if scores["metric"] == ACC_NORM:
        measured = (
            f"accuracy {scores['acc']:.3f}, by characters {scores['acc_norm']:.3f}, {loss}, "
            f"chance {scores['chance']:.3f}"
        )
    else:
        measured = f"{scores['metric']} {scores['score']:.3f} of written answers, {loss}"
    return [*facts, ("scores", f"{measured} ({scores['num_examples']} test rows, epoch {scores['epoch']})")]


def _facts_of_others(task: str, base: str, record: RunRecord) -> Iterable[tuple[str, str]]:
    """Of a task that another run than the artifact's gave its latent, and perhaps its converter."""
    if task not in record.taught_by:
        made, data = f"{_made_by(record)}; the latent is the source's", "no row of the task in the refit"
        if find_method(record.config["method"]).teaches:  # beside it, which changed nothing of it
            made = "the artifact that new tasks were taught to, whose adapters stayed as they were"
            data = NOT_RECORDED
        return [("made by", made), ("data", data), ("scores", NOT_RECORDED)]
    taught = record.maker(task)
    latent, data, of_latent = "a latent of another artifact", NOT_RECORDED, NOT_RECORDED
    if taught is not None:
        here = base in [public_name(ref["name"]) for ref in taught.config["bases"]]
        latent = "a latent that was taught on this base" if here else "a latent carried to this base"
        data = f"of the latent: {_data(task, taught)}" + ("" if here else "; no row of the task on this base")
        of_latent = _made_by(taught)
    return [
        ("made by", f"{latent}. The converter: {_made_by(record)}"),
        ("the latent", of_latent),
        ("data", data),
        *_precision_facts(record.config),
        ("scores", NOT_RECORDED),
    ]


def _made_by(record: RunRecord) -> str:
    source = ", ".join(record.config.get("source_bases") or ["?"])
    return find_method(record.config["method"]).made_by.format(sources=source)


def _data(task: str, record: RunRecord) -> str:
    data = record.config["data"]
    size = "all rows" if data["size"] is None else f"at most {data['size']} rows"
    if data["size"] == 0:
        size = "a description and no row"
    if data["suite"] == WITHOUT_ROWS:
        return f"{size}: there is none"
    if task in data.get("files", {}):
        return f"{size} of the task, from a task file"
    return f"{size} of the task, suite `{data['suite']}`, prompts `{data['prompt_set']}`"


def _precision_facts(config: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The precision that the run's base had, where it is not the default."""
    named = sorted({ref["precision"] for ref in config["bases"]} - {"default"})
    return [("precision of the base in training", ", ".join(named))] if named else []


def _loader(base: str) -> str:
    """The class of transformers that loads the base; of one that is not known here, the usual one."""
    sees = (published_config(base) or {}).get("model_type") in IMAGE_FAMILIES
    return "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"


def _base_licence(base: str) -> str:
    for known in list_bases():
        if base in (known.name, known.location):
            return known.licence
    return f"not known here; see the card of `{base}`"


def _task_licence(task: str, record: RunRecord | None) -> str:
    from portal.tasks.portal14 import BUILDERS

    maker = None if record is None else record.maker(task)
    if maker is None:
        return "not known here"
    data = maker.config["data"]
    if data["suite"] == WITHOUT_ROWS:
        return "there are no rows"
    if task in data.get("files", {}):
        return str(data["files"][task])
    if data["suite"] == "portal14" and task in BUILDERS:
        return BUILDERS[task].licence
    if data["suite"] in embedded.SUITES:
        return "Apache-2.0 (generated by this project)"
    return "not known here"
