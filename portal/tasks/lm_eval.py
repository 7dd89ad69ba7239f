"""Tasks of lm-eval by its own task objects: contexts, continuations and answers are theirs, unchanged.

Rows to report are those that lm-eval evaluates (a task's test split, else its validation split), in its order
of choices, so that accuracies agree with it wherever no two choices tie. A written answer is judged as by
lm-eval: with the task's first list of filters and the first of its metrics. For that the document stands
beside the right answers, as JSON.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portal.answers import AnswerConfig
from portal.messages import one_line
from portal.tasks.builder import VALIDATION_ROWS, VALIDATION_SHARE, carve
from portal.tasks.example import SPLITS, Example, Lint, Written, shared_start
from portal.tasks.records import split_files

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager


LM_EVAL = "lm-eval:"
"""What the metric of a task with written answers starts with; its name follows."""
FEWSHOT_SEED = 1234  # lm-eval's default
_CHOICES, _WRITTEN = "multiple_choice", "generate_until"
_MAX_TOKENS = 256
"""New tokens of an answer where a task does not say how many, as in lm-eval."""
_METRICS = {"acc", "acc_norm", "acc_mutual_info", "acc_bytes", "f1", "mcc", "brier_score"}


def task_names() -> tuple[str, ...]:
    """Every single task of the installed lm-eval; ValueError when it is not installed."""
    return tuple(_manager().all_subtasks)


def load_lm_eval_task(name: str, folder: Path | None) -> tuple[dict[str, list[Example]], Lint]:
    """Load the examples by split, and the Lint of their rows.

    With a `folder`, rows come from `folder/NAME/SPLIT.parquet` instead of the hub. The validation slice is
    lm-eval's validation split where it reports on a test split, else carved from the training rows. A task
    without training rows has only test examples. ValueError for a task that neither is multiple choice with
    one right answer nor has written answers, or whose rows cannot be read.
    """
    task = _load(name, folder)
    task.set_fewshot_seed(FEWSHOT_SEED)  # shots are drawn row by row: the same ones whenever it is loaded
    lint = Lint()
    test = _examples(name, task, "test" if task.has_test_docs() else "validation", lint)
    train = _examples(name, task, "train", lint) if task.has_training_docs() else []
    if task.has_test_docs() and task.has_validation_docs():
        validation = _examples(name, task, "validation", lint)
    elif train:
        train, validation = carve(name, train, share=VALIDATION_SHARE, most=VALIDATION_ROWS, lint=lint)
    else:
        validation = []
    return {"train": train, "validation": validation, "test": test}, lint


def lm_eval_answers(name: str, folder: Path | None) -> AnswerConfig | None:
    """How written answers to the task end and are judged; None where it has choices. Errors as above."""
    task = _load(name, folder)
    return _settings_of(name, task) if task.OUTPUT_TYPE == _WRITTEN else None


@cache
def lm_eval_measure(name: str) -> Any:
    """The measure of a task with written answers, as evaluate.text_metrics has them.

    ValueError for an unknown task, and where lm-eval is not installed.
    """
    if name not in _manager().all_subtasks:
        raise ValueError(f"lm-eval has no task {name!r}")
    made: list[ConfigurableTask] = []

    def measure(text: str, references: Sequence[str]) -> float:
        doc = json.loads(references[-1])
        if not made:
            made.append(_of_document(name, doc))
        return _judge(name, made[0], doc, text)

    return measure


def to_example(name: str, example_id: str, pairs: Sequence[tuple[str, str]], gold: int) -> Example | str:
    """The example of one document's (context, continuation) pairs, or why it cannot be one.

    Equal continuations of a shared context are made one. Where the right one is among them the document is
    refused: lm-eval counts such an answer by the place of the choice, not by its text.
    """
    contexts = [context for context, _ in pairs]
    shared = len(set(contexts)) == 1
    kept = list(dict.fromkeys(pairs))
    if len(kept) != len(pairs) and list(pairs).count(pairs[gold]) > 1:
        return "the right choice stands twice"
    if len(kept) < 2:
        return "only one choice"
    prompt = contexts[0][: shared_start(contexts)]
    if not prompt.strip():
        return "no context"
    if any(not continuation.strip() for _, continuation in kept):
        return "empty choice"
    return Example(
        task=name,
        id=example_id,
        prompt=prompt,
        choices=tuple(continuation for _, continuation in kept),
        gold=kept.index(pairs[gold]),
        cluster=example_id,
        contexts=None if shared else tuple(context for context, _ in kept),
    )


@cache
def _manager() -> "TaskManager":
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError:
        raise ValueError(
            "suite 'lm-eval' needs the package lm-eval: pip install 'portal-sweeps[harness]'"
        ) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager()


def _judge(name: str, task: "ConfigurableTask", doc: dict[str, Any], text: str) -> float:
    from lm_eval.api.instance import Instance

    instance = Instance(_WRITTEN, doc, ("", {}), 0, (task.config.task, 0, 1))
    instance.resps = [text]
    first = task._filters[0]
    first.apply([instance])
    found = task.process_results(doc, [instance.filtered_resps[first.name]])
    metric = _metric_of(name, task)
    if metric not in found:
        raise ValueError(f"lm-eval scores {', '.join(map(str, found))}, and no {metric}")
    return float(found[metric])


def _of_document(name: str, doc: dict[str, Any]) -> "ConfigurableTask":
    """The task with this processed document in every split, whatever its data set is."""
    import datasets

    rows = datasets.Dataset.from_list([doc])
    spec = {"task": name, "custom_dataset": lambda **_: defaultdict(lambda: rows), "process_docs": None}
    task: ConfigurableTask = _manager().load({"group": "portal", "task": [spec]})["tasks"][name]
    return task


@cache
def _load(name: str, folder: Path | None) -> "ConfigurableTask":
    spec: dict[str, Any] = {"task": name}
    if folder is not None:
        found = {split: split_files(folder / name, split) for split in SPLITS}
        files = {split: [str(path) for path in paths] for split, paths in found.items() if paths}
        if not files:
            raise ValueError(f"{folder / name}: no SPLIT.parquet here for lm-eval task {name!r}")
        kind = "json" if next(iter(files.values()))[0].endswith(".jsonl") else "parquet"
        spec |= {"dataset_path": kind, "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    try:
        # a task named in a group keeps its file, with our changes
        task = _manager().load({"group": "portal", "task": [spec]})["tasks"][name]
    except KeyError as error:
        raise ValueError(f"lm-eval task {name!r}: its rows have no {error} (a split or a column)") from None
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"lm-eval task {name!r}: cannot be read ({one_line(error, most=300)}); without the hub, "
            "name a folder of its rows with --data"
        ) from None
    if task.OUTPUT_TYPE == _WRITTEN:
        _settings_of(name, task)
        return task
    if task.OUTPUT_TYPE != _CHOICES:
        raise ValueError(
            f"lm-eval task {name!r} is of type {task.OUTPUT_TYPE!r}; only {_CHOICES} and {_WRITTEN} tasks "
            "can be used"
        )
    metrics = set(task._metric_fn_list)
    if not metrics <= _METRICS or task.config.process_results is not None:
        scored_by = ", ".join(sorted(metrics)) or "a rule of its own"
        raise ValueError(
            f"lm-eval task {name!r} is scored by {scored_by}; only tasks with one right answer can be used "
            f"({', '.join(sorted(_METRICS))})"
        )
    return task


def _settings_of(name: str, task: "ConfigurableTask") -> AnswerConfig:
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
        metric=f"{LM_EVAL}{name}",
        max_new_tokens=settings.get("max_gen_toks", _MAX_TOKENS),
        stop=tuple(stop for stop in stops if stop),
    )


def _metric_of(name: str, task: "ConfigurableTask") -> str:
    """The first of its metrics that the task names; ValueError where it names none."""
    metrics = list(task._metric_fn_list)
    if not metrics:
        raise ValueError(f"lm-eval task {name!r} names no metric")
    return metrics[0]


def _examples(name: str, task: "ConfigurableTask", split: str, lint: Lint) -> list[Example]:
    docs = {"train": task.training_docs, "validation": task.validation_docs, "test": task.test_docs}[split]()
    examples = []
    for index, doc in enumerate(docs):
        where, example_id = f"lm-eval task {name!r}, split {split!r}, row {index}", f"{split}-{index:06d}"
        if task.OUTPUT_TYPE == _WRITTEN:
            with _reading(where):
                example = _to_written(name, example_id, task, doc)
        else:
            with _reading(where):
                pairs, gold, choices = _rendered(task, doc)
            example = to_example(name, example_id, pairs, _gold_index(where, gold, choices))
        if isinstance(example, str):
            lint.drop(split, example, index)
            continue
        merged = task.OUTPUT_TYPE == _CHOICES and len(example.choices) != len(pairs)
        lint.merged[split] = lint.merged.get(split, 0) + merged
        examples.append(example)
    if not examples:
        raise ValueError(f"lm-eval task {name!r}, split {split!r}: no usable row{lint.why_few()}")
    return examples


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """ValueError for a row that the task's own templates cannot read."""
    from jinja2 import TemplateError

    try:
        yield
    except (TemplateError, AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        reason = f"no column {error}" if isinstance(error, KeyError) else one_line(error, most=300)
        raise ValueError(f"{where}: its templates cannot read the row: {reason}") from None


def _to_written(name: str, example_id: str, task: "ConfigurableTask", doc: dict[str, Any]) -> Example | str:
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


def _rendered(
    task: "ConfigurableTask", doc: dict[str, Any]
) -> tuple[list[tuple[str, str]], Any, Sequence[str]]:
    """Render a document: (context, continuation) of every choice, the right one, and the choices."""
    context = task.fewshot_context(doc, task.config.num_fewshot or 0)
    choices = task.doc_to_choice(doc)
    requests = task.construct_requests(doc, context)[: len(choices)]
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    return [(str(request.args[0]), str(request.args[1])) for request in requests], gold, choices


def _gold_index(where: str, gold: Any, choices: Sequence[str]) -> int:
    if isinstance(gold, str) and gold in choices:
        return list(choices).index(gold)
    if isinstance(gold, bool) or not isinstance(gold, int):
        raise ValueError(f"{where}: its answer {gold!r} is not exactly one of its choices")
    if not 0 <= gold < len(choices):
        raise ValueError(f"{where}: its answer {gold} is outside 0..{len(choices) - 1}")
    return gold
