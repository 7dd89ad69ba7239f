"""The model card of an exported adapter: what it is, how it was made, what it scored, whose terms apply."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.bases.registry import KNOWN, weights_note
from portal.config import AdapterConfig, RunConfig
from portal.methods import find_method
from portal.results import RESULTS, RESULTS_FILE, read_table

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class RunRecord:
    """What the run that made an artifact left beside it."""

    config: dict[str, Any]
    results: tuple[dict[str, Any], ...]

    def scores(self, task: str) -> dict[str, Any] | None:
        """The row of the result table for `task` on test rows at the last epoch."""
        rows = [row for row in self.results if (row["task"], row["split"]) == (task, "test")]
        return max(rows, key=lambda row: row["epoch"], default=None)


def read_run_record(artifact: Path) -> RunRecord | None:
    """The record of the run folder that holds `artifact`; None for an artifact from elsewhere."""
    folder = next((parent for parent in artifact.resolve().parents if (parent / "run.json").is_file()), None)
    if folder is None or not (folder / RESULTS_FILE).is_file():
        return None
    config = json.loads((folder / "run.json").read_bytes())["config"]
    try:
        results = read_table(folder / RESULTS_FILE, RESULTS).to_pylist()
    except ValueError:
        results = []  # written by another version: the card says that scores are not recorded
    return RunRecord(config, tuple(results))


def record_for(artifact: Path, run: RunConfig) -> RunRecord:
    """What is known of `run` while it writes `artifact`: its config, and its scores if they are written."""
    return read_run_record(artifact) or RunRecord(run.model_dump(mode="json"), ())


def adapter_card(
    *, task: str, base: str, revision: str | None, adapter: AdapterConfig, record: RunRecord | None
) -> str:
    """The text of README.md, with the metadata that hubs read at its head."""
    facts = [
        ("base", f"`{base}`"),
        ("revision of the base", f"`{revision}`" if revision else NOT_RECORDED),
        ("task", f"`{task}`"),
        (
            "adapter",
            f"rank {adapter.rank}, alpha {adapter.alpha}, projections {', '.join(adapter.modules)}; "
            "no dropout, no bias, no patterns",
        ),
        *_training_facts(task, record),
        ("licence of the base", _base_licence(base)),
        ("licence of the task's rows", _task_licence(task, record)),
    ]
    note = weights_note(base)
    place = base if "/" in base else "FOLDER_OF_THE_BASE"  # a hub id, or no name that others can load
    warning = f"\nThe base's weights: {note}.\n" if note is not None else ""
    return (
        f"---\nbase_model: {base}\nlibrary_name: peft\npipeline_tag: text-generation\n"
        "tags:\n- lora\n- portal\n---\n\n"
        f"# LoRA adapter: {task}\n\nA standard PEFT adapter for task `{task}` on `{base}`.\n{warning}\n"
        f"{_table(facts)}\n"
        "## Use\n\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{place}"), "THIS_FOLDER")\n'
        "```\n\n```sh\n"
        f"vllm serve {place} --enable-lora --max-lora-rank {served_rank(adapter.rank)} "
        f"--lora-modules {task}=THIS_FOLDER\n```\n"
    )


def served_rank(rank: int) -> int | str:
    """The smallest of vLLM's LoRA ranks that holds `rank`."""
    ranks = (1, 8, 16, 32, 64, 128, 256, 320, 512)
    return next((accepted for accepted in ranks if accepted >= rank), f"RANK (above {ranks[-1]})")


def _training_facts(task: str, record: RunRecord | None) -> Iterable[tuple[str, str]]:
    if record is None:
        return [("training", NOT_RECORDED), ("scores", NOT_RECORDED)]
    config = record.config
    data = config["data"]
    source = ", ".join(config.get("source_bases") or ["?"])
    made = find_method(config["method"]).made_by.format(sources=source)
    size = "all rows" if data["size"] is None else f"at most {data['size']} rows"
    facts = [
        ("made by", made),
        ("data", f"{size} of the task, {_origin(task, data)}"),
        ("seed", str(config["seed"])),
    ]
    scores = record.scores(task)
    if scores is None:
        return [*facts, ("scores", NOT_RECORDED)]
    measured = (
        f"accuracy {scores['acc']:.3f}, by characters {scores['acc_norm']:.3f}, log-loss "
        f"{scores['log_loss']:.3f} nats a token, chance {scores['chance']:.3f}"
    )
    return [*facts, ("scores", f"{measured} ({scores['num_examples']} test rows, epoch {scores['epoch']})")]


def _origin(task: str, data: dict[str, Any]) -> str:
    if task in data.get("files", {}):
        return "from a task file"
    return f"suite `{data['suite']}`, prompts `{data['prompt_set']}`"


def _base_licence(base: str) -> str:
    for known in KNOWN.values():
        if base in (known.name, known.location):
            return known.licence
    return f"not known here; see the card of `{base}`"


def _task_licence(task: str, record: RunRecord | None) -> str:
    from portal.tasks.portal14 import BUILDERS

    if record is None:
        return "not known here"
    data = record.config["data"]
    if task in data.get("files", {}):
        return str(data["files"][task])
    if data["suite"] == "portal14" and task in BUILDERS:
        return BUILDERS[task].licence
    if data["suite"] == "mini":
        return "Apache-2.0 (generated by this project)"
    return "not known here"


def _table(facts: Iterable[tuple[str, str]]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in facts)
