"""The tasks of the prompt set "mini": multiple-choice questions about the small world in unlike formats."""

import random
from functools import cache

from portal.mini.common_tasks import draw_cause_effect, draw_membership, draw_odd_one_out
from portal.mini.passage_tasks import (
    draw_counting,
    draw_entailment,
    draw_leftover,
    draw_passage_yesno,
    draw_time_order,
)
from portal.mini.person_tasks import (
    draw_comparison,
    draw_completion,
    draw_fact_qa,
    draw_multi_hop,
    draw_pronoun,
)
from portal.mini.question import Draw, to_example
from portal.tasks.example import SPLITS, Example, check_drawn

SIZES = {"train": 256, "validation": 64, "test": 150}
_DRAWS: dict[str, Draw] = {
    "cause_effect": draw_cause_effect,
    "comparison": draw_comparison,
    "completion": draw_completion,
    "counting": draw_counting,
    "entailment": draw_entailment,
    "fact_qa": draw_fact_qa,
    "leftover": draw_leftover,
    "membership": draw_membership,
    "multi_hop": draw_multi_hop,
    "odd_one_out": draw_odd_one_out,
    "passage_yesno": draw_passage_yesno,
    "pronoun": draw_pronoun,
    "time_order": draw_time_order,
}
MINI_TASKS = tuple(_DRAWS)


def mini_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, the same everywhere; splits share no prompt and no cluster.

    Raises ValueError for an unknown task or split.
    """
    check_drawn(task, split, _DRAWS)
    return list(_draw_task(task)[split])


@cache
def _draw_task(task: str) -> dict[str, tuple[Example, ...]]:
    """All splits of a task; a cluster that one split has used is closed to the others."""
    owner: dict[str, str] = {}
    prompts: set[str] = set()
    drawn: dict[str, tuple[Example, ...]] = {}
    for split in reversed(SPLITS):
        rng = random.Random(f"{task} {split}")
        examples: list[Example] = []
        while len(examples) < SIZES[split]:
            question = _DRAWS[task](rng, split, len(examples))
            if question.prompt in prompts or owner.setdefault(question.cluster, split) != split:
                continue
            prompts.add(question.prompt)
            examples.append(to_example(question, task, split, len(examples), SIZES[split]))
        drawn[split] = tuple(examples)
    return drawn
