"""Answers of port and LoRA that differ in worth, worst first, and how far ports are ahead."""

import pyarrow as pa
import pytest

from analysis.stats.aggregate import KEPT, compare
from analysis.stats.answers import ShownAnswer
from analysis.stats.contrasts import MOST_OF_A_BASE, Contrast, Lead, find_contrasts, find_leads
from portal.results import GENERATIONS, PREDICTIONS, Question
from tests.support.few_rows import target_of_study
from tests.support.result_tables import StudyBuilder, known, row, study_of

SETTINGS = {"size": 8, "modules": "q,v", "rank": 8, "epoch": 1}


def answers(run: str, task: str, values: list[float], *, epoch: int = 1) -> list[dict]:
    return [
        {
            "run": run, "task": task, "epoch": epoch, "split": "test", "example": f"{place}",
            "prompt": f"prompt {place}", "references": ["right", "also right"], "text": f"{run} {place}",
            "tokens": 2, "reason": "end", "metric": "token_f1", "value": value, "error": None,
        }
        for place, value in enumerate(values)
    ]  # fmt: skip


def contrasts(
    rows: list[dict],
    predictions: list[dict],
    generations: list[dict],
    questions: dict[tuple[str, str], Question],
) -> tuple[Contrast, ...]:
    study = study_of([*rows, *({**each, "split": "validation"} for each in rows)])
    comparison = compare(study, "big")
    return find_contrasts(
        study,
        comparison,
        next((each for each in comparison.summaries if each.cell.method == "portal"), None),
        predictions=pa.Table.from_pylist(predictions, schema=PREDICTIONS),
        generations=pa.Table.from_pylist(generations, schema=GENERATIONS),
        questions=questions,
    )


def contrasts_of_texts(generations: list[dict]) -> tuple[Contrast, ...]:
    written = {"acc_norm": None, "metric": "token_f1", "score": 0.5}
    rows = [
        row(run=run, method=method, task=task, **written, **settings)
        for task in ("list", "fact")
        for run, method, settings in (
            ("b", "base", {}),
            *((f"lora{seed}", "lora", {"seed": seed, **SETTINGS}) for seed in (0, 1)),
            *((f"portal{seed}", "portal", {"seed": seed, **SETTINGS}) for seed in (1, 2)),
        )
    ]
    return contrasts(rows, [], generations, {})


def test_rows_are_matched_and_the_ports_worst_come_first() -> None:
    found = contrasts_of_texts([
        *answers("portal1", "list", [0.5, 1.0, 0.0, 0.25, 0.75, 1.0]),
        *answers("lora1", "list", [0.5, 0.0, 1.0, 0.5, 0.5, 0.5]),
        *answers("portal1", "fact", [1.0]),
        *answers("lora1", "fact", [1.0]),
        *answers("portal2", "fact", [0.0]),
        *answers("lora0", "fact", [0.5]),
        *answers("lora1", "list", [0.0] * 6, epoch=0),
    ])  # fmt: skip

    assert [(each.port.task, each.port.example) for each in found] == [("list", each) for each in "234"]
    assert found[0] == Contrast(
        ShownAnswer("list", "2", "prompt 2", "right", "portal1 2", 0.0),
        ShownAnswer("list", "2", "prompt 2", "right", "lora1 2", 1.0),
        ("portal1", "lora1"),
    )


def test_without_a_port_or_answers_that_differ_there_is_nothing() -> None:
    right = answers("portal1", "list", [1.0])
    for generations in ([*right, *answers("lora1", "list", [1.0])], right, []):
        assert contrasts_of_texts(generations) == ()
    rows = [row(run="b", task="list")]
    base = compare(study_of(rows), "big").frozen_base

    assert contrasts(rows, [], [], {}) == ()
    tables = {"predictions": None, "generations": GENERATIONS.empty_table(), "questions": {}}
    assert find_contrasts(study_of(rows), compare(study_of(rows), "big"), base, **tables) == ()


Scores = list[tuple[float, float]]
"""Log-likelihoods of two choices of equal lengths, of which the first is right."""


def contrasts_of_choices(
    num_tasks: int, port: Scores, lora: Scores, *, ask: bool = True
) -> tuple[Contrast, ...]:
    tasks = [f"t{number:03}" for number in range(num_tasks)]
    both = {"lora": lora, "portal": port}
    rows = [row(run=name, method=name, task=task, seed=0, **SETTINGS) for name in both for task in tasks]
    answered = [
        {
            "run": run, "task": task, "epoch": 1, "split": "test", "example": f"{place}",
            "cluster": f"{place}", "scores": list(scores), "chars": [4, 4], "bytes": [4, 4],
            "tokens": [1, 1], "lm_eval_chars": [3, 3], "gold": 0, "value": None,
        }
        for task in tasks
        for run, own in both.items()
        for place, scores in enumerate(own)
    ]  # fmt: skip
    questions = {
        (task, f"{place}"): Question(f"what is {place}?", (" this", " that"))
        for task in tasks
        for place in range(len(port))
    }
    return contrasts(rows, answered, [], questions if ask else {})


def test_choices_are_told_by_their_texts_and_those_furthest_off_come_first() -> None:
    port = [(-1.0, -2.0), (-3.0, -1.0), (-9.0, -1.0), (-1.0, -2.0)]
    lora = [(-1.0, -2.0), (-1.0, -2.0), (-1.0, -2.0), (-2.0, -1.0)]
    found = contrasts_of_choices(1, port, lora)

    assert [each.port.example for each in found] == ["2", "1", "3"]
    assert found[0].port == ShownAnswer("t000", "2", "what is 2?", "this", "that", 0.0, -2.0)
    assert found[0].lora == ShownAnswer("t000", "2", "what is 2?", "this", "this", 1.0, 0.25)
    assert contrasts_of_choices(1, port, lora, ask=False) == ()  # of no known prompt nothing is shown


def test_many_tasks_have_room_for_the_worst_rows_only() -> None:
    found = contrasts_of_choices(MOST_OF_A_BASE + 5, [(-3.0, -1.0), (-5.0, -1.0)], [(-1.0, -2.0)] * 2)

    assert len(found) == len({each.port.task for each in found}) == MOST_OF_A_BASE
    assert {each.port.example for each in found} == {"1"}


@pytest.fixture(scope="module")
def leads() -> dict[tuple[str, str, int], Lead]:
    """By port, other method and size."""
    builder = StudyBuilder(num_examples=120)
    builder.add("base", rates=(0.2,))
    for seed in (0, 1):
        for size, port, lora in ((4, 0.8, 0.4), (16, 0.8, 0.8), (48, 0.5, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("portal", seed=seed, size=size, rates=(port - 0.1,), label="half")
            builder.add("lora", seed=seed, size=size, rates=(lora,))
    builder.add("hypernet", seed=1, size=4, rates=(0.4,))
    builder.add("hypernet", seed=7, size=16, rates=(0.4,))
    leads = target_of_study(builder).leads
    return {(lead.port.variant.name, lead.against.variant.name, lead.port.size or 0): lead for lead in leads}


def test_a_lead_is_the_difference_of_accuracies_with_an_interval(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    for size, low, high in ((4, 0.3, 0.5), (48, -0.5, -0.3)):
        difference = leads["portal", "lora", size].difference
        assert low < known(difference.value) < high
        assert difference.excludes_zero
    assert not leads["portal", "lora", 16].difference.excludes_zero


def test_ports_are_compared_once_with_each_other_and_others_where_they_share_size_and_seeds(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    pairs = [{port, against} for port, against, size in leads if size == 4]

    assert leads["portal", "lora", 4].num_seeds == 2
    assert leads["portal", "hypernet", 4].num_seeds == 1
    assert ("portal", "hypernet", 16) not in leads
    assert all(len(pair) == 2 and "base" not in pair for pair in pairs)
    assert len({*map(frozenset, pairs)}) == len(pairs)
    assert {"portal", "half"} in pairs


def test_without_draws_nothing_is_compared() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))

    assert find_leads(compare(builder.study(), "big", KEPT), None, {}) == ()
