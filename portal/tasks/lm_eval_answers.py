"""Tasks of lm-eval whose answers are written: their settings, right answers, and lm-eval's own judgement.

An answer is judged as lm-eval does: by the task's first list of filters and the first of its metrics. For
that the document stands beside the right answers, as JSON.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from portal.answers import AnswerConfig
from portal.tasks.example import Example, Written

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

OUTPUT = "generate_until"
PREFIX = "lm-eval:"
"""What the metric of such a task starts with; its name follows."""
_MAX_TOKENS = 256
"""New tokens where a task does not say how many, as in lm-eval."""


def answer_settings(name: str, task: "ConfigurableTask") -> AnswerConfig:
    """When answers to the task end; its metric is lm-eval's own.

    ValueError for a task that draws answers by chance, writes several to a document, or has a metric that is
    no mean over documents, higher is better.
    """
    settings = dict(task.config.generation_kwargs or {})
    if settings.get("do_sample") and settings.get("temperature", 1.0) != 0:
        raise ValueError(f"lm-eval task {name!r} draws its answers by chance; only greedy ones can be used")
    if task.config.repeats not in (None, 1):
        raise ValueError(f"lm-eval task {name!r} wants {task.config.repeats} answers to a document")
    metric = _metric_of(name, task)
    if not task._higher_is_better.get(metric, True):
        raise ValueError(f"lm-eval task {name!r} is scored by {metric}, of which less is better")
    if getattr(task._aggregation_list.get(metric), "__name__", "mean") != "mean":
        raise ValueError(f"lm-eval task {name!r} is scored by {metric}, which is no mean over documents")
    until = settings.get("until") or []
    stops = [until] if isinstance(until, str) else list(until)
    return AnswerConfig(
        metric=f"{PREFIX}{name}",
        max_new_tokens=settings.get("max_gen_toks", _MAX_TOKENS),
        stop=tuple(stop for stop in stops if stop),
    )


def to_written(name: str, example_id: str, task: "ConfigurableTask", doc: dict[str, Any]) -> Example | str:
    """The example of one document, or why it cannot be one."""
    context = task.fewshot_context(doc, task.config.num_fewshot or 0)
    target = task.doc_to_target(doc)
    if task.config.doc_to_choice is not None:
        target = task.doc_to_choice(doc)[target]  # as lm-eval judges it
    targets = [str(each) for each in target] if isinstance(target, list) else [str(target)]
    if not targets or not targets[0].strip():
        return "no answer"
    if not context.strip():
        return "no context"
    answer = f"{task.config.target_delimiter}{targets[0]}"
    written = Written((targets[0], json.dumps(doc, sort_keys=True, default=str)))
    return Example(name, example_id, context, (answer,), 0, example_id, None, written)


def judged_by(name: str, build: Callable[[str, Sequence[Mapping[str, Any]]], "ConfigurableTask"]) -> Any:
    """The measure of a task: `build` makes it of some documents, without its data set."""

    made: list[ConfigurableTask] = []

    def measure(text: str, references: Sequence[str]) -> float:
        doc = json.loads(references[-1])
        if not made:
            made.append(build(name, [doc]))
        return _judge(name, made[0], doc, text)

    return measure


def _judge(name: str, task: "ConfigurableTask", doc: dict[str, Any], text: str) -> float:
    from lm_eval.api.instance import Instance

    instance = Instance(OUTPUT, doc, ("", {}), 0, (task.config.task, 0, 1))
    instance.resps = [text]
    first = task._filters[0]
    first.apply([instance])
    found = task.process_results(doc, [instance.filtered_resps[first.name]])
    metric = _metric_of(name, task)
    if metric not in found:
        raise ValueError(f"lm-eval scores {', '.join(map(str, found))}, and no {metric}")
    return float(found[metric])


def _metric_of(name: str, task: "ConfigurableTask") -> str:
    """The first of its metrics that the task names; ValueError where it names none."""
    metrics = list(task._metric_fn_list)
    if not metrics:
        raise ValueError(f"lm-eval task {name!r} names no metric")
    return metrics[0]
