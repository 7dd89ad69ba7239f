"""Answers of port and LoRA that differ in worth, worst first, and how far ports are ahead."""

import pyarrow as pa
import pytest

from analysis.stats.aggregate import KEPT, compare
from analysis.stats.answers import ShownAnswer
from analysis.stats.bootstrap import ACCURACY, bootstrap_over_tasks, choose_runs
from analysis.stats.contrasts import MOST_OF_A_BASE, Contrast, Lead, find_contrasts, find_leads
from analysis.stats.result_table import gather_runs
from portal.results import GENERATIONS, PREDICTIONS, Question
from tests.support.result_tables import StudyBuilder, row, to_table


def rows_of(run: str, method: str, seed: int | None, task: str, epoch: int = 1) -> dict[str, object]:
    settings = {} if method == "base" else {"seed": seed, "size": 8, "modules": "q,v", "rank": 8}
    return row(run=run, method=method, task=task, epoch=epoch, acc_norm=None, metric="token_f1", score=0.5,
               **settings)  # fmt: skip


def answers(run: str, task: str, values: list[float], *, epoch: int = 1, split: str = "test") -> list[dict]:
    return [
        {
            "run": run, "task": task, "epoch": epoch, "split": split, "example": f"{place}",
            "prompt": f"prompt {place}", "references": ["right", "also right"], "text": f"{run} {place}",
            "tokens": 2, "reason": "end", "metric": "token_f1", "value": value, "error": None,
        }
        for place, value in enumerate(values)
    ]  # fmt: skip


def contrasts(generations: list[dict]) -> tuple[Contrast, ...]:
    rows = [rows_of("b", "base", None, task, 0) for task in ("list", "fact")]
    rows += [
        rows_of(f"{method}{seed}", method, seed, task)
        for method, seeds in (("lora", (0, 1)), ("portal", (1, 2)))
        for seed in seeds
        for task in ("list", "fact")
    ]
    study = gather_runs(to_table([*rows, *({**each, "split": "validation"} for each in rows)]))
    comparison = compare(study, "big")
    (port,) = [each for each in comparison.summaries if each.cell.method == "portal"]
    table = pa.Table.from_pylist(generations, schema=GENERATIONS)
    return find_contrasts(study, comparison, port, predictions=None, generations=table, questions={})


def test_rows_are_matched_and_the_ports_worst_come_first() -> None:
    found = contrasts([
        *answers("portal1", "list", [0.5, 1.0, 0.0, 0.25, 0.75, 1.0]),
        *answers("lora1", "list", [0.5, 0.0, 1.0, 0.5, 0.5, 0.5]),
        *answers("portal1", "fact", [1.0]),
        *answers("lora1", "fact", [1.0]),
        *answers("portal2", "fact", [0.0]),
        *answers("lora0", "fact", [0.5]),
        *answers("lora1", "list", [0.0] * 6, epoch=0),
    ])  # fmt: skip

    assert [each.port.task for each in found] == ["list"] * 3
    assert [each.port.example for each in found] == ["2", "3", "4"]
    assert found[0] == Contrast(
        ShownAnswer("list", "2", "prompt 2", "right", "portal1 2", 0.0),
        ShownAnswer("list", "2", "prompt 2", "right", "lora1 2", 1.0),
        ("portal1", "lora1"),
    )


def test_without_answers_that_differ_there_is_nothing() -> None:
    assert contrasts([*answers("portal1", "list", [1.0]), *answers("lora1", "list", [1.0])]) == ()
    assert contrasts(answers("portal1", "list", [1.0])) == ()
    assert contrasts([]) == ()


def choices(run: str, task: str, answers: list[tuple[float, float]]) -> list[dict]:
    """Rows with gold at 0 and these log-likelihoods of choices of equal lengths."""
    return [
        {
            "run": run, "task": task, "epoch": 1, "split": "test", "example": f"{place}",
            "cluster": f"{place}", "scores": list(scores), "chars": [4, 4], "bytes": [4, 4],
            "tokens": [1, 1], "lm_eval_chars": [3, 3], "gold": 0, "value": None,
        }
        for place, scores in enumerate(answers)
    ]  # fmt: skip


def contrasts_of_choices(
    num_tasks: int, questions: bool, port: list[tuple[float, float]], lora: list[tuple[float, float]]
) -> tuple[Contrast, ...]:
    tasks = [f"t{number:03}" for number in range(num_tasks)]
    settings = {"seed": 0, "size": 8, "modules": "q,v", "rank": 8, "epoch": 1}
    rows = [
        row(run=method, method=method, task=task, **settings)
        for method in ("lora", "portal")
        for task in tasks
    ]
    study = gather_runs(to_table([*rows, *({**each, "split": "validation"} for each in rows)]))
    comparison = compare(study, "big")
    (found,) = [each for each in comparison.summaries if each.cell.method == "portal"]
    answered = [
        each for task in tasks for each in (*choices("portal", task, port), *choices("lora", task, lora))
    ]
    known = {
        (task, f"{place}"): Question(f"what is {place}?", (" this", " that"))
        for task in tasks
        for place in range(len(port))
    }
    return find_contrasts(
        study,
        comparison,
        found,
        predictions=pa.Table.from_pylist(answered, schema=PREDICTIONS),
        generations=None,
        questions=known if questions else {},
    )


def test_choices_are_told_by_their_texts_and_those_furthest_off_come_first() -> None:
    port = [(-1.0, -2.0), (-3.0, -1.0), (-9.0, -1.0), (-1.0, -2.0)]
    lora = [(-1.0, -2.0), (-1.0, -2.0), (-1.0, -2.0), (-2.0, -1.0)]
    found = contrasts_of_choices(1, True, port, lora)

    assert [each.port.example for each in found] == ["2", "1", "3"]
    assert found[0].port == ShownAnswer("t000", "2", "what is 2?", "this", "that", 0.0, -2.0)
    assert found[0].lora == ShownAnswer("t000", "2", "what is 2?", "this", "this", 1.0, 0.25)


def test_rows_without_a_known_prompt_are_not_shown() -> None:
    assert contrasts_of_choices(1, False, [(-3.0, -1.0)], [(-1.0, -2.0)]) == ()


def test_many_tasks_have_room_for_the_worst_rows_only() -> None:
    port, lora = [(-3.0, -1.0), (-5.0, -1.0)], [(-1.0, -2.0)] * 2
    found = contrasts_of_choices(MOST_OF_A_BASE + 5, True, port, lora)

    assert len(found) == MOST_OF_A_BASE
    assert {each.port.example for each in found} == {"1"}
    assert len({each.port.task for each in found}) == MOST_OF_A_BASE


def test_nothing_is_compared_without_a_port() -> None:
    study = gather_runs(to_table([rows_of("b", "base", None, "list", 0)]))
    comparison = compare(study, "big")
    tables = {"predictions": None, "generations": GENERATIONS.empty_table(), "questions": {}}

    assert find_contrasts(study, comparison, None, **tables) == ()
    assert find_contrasts(study, comparison, comparison.frozen_base, **tables) == ()


def leads_of(builder: StudyBuilder) -> dict[tuple[str, str, int], Lead]:
    """By port, other method and size."""
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big", KEPT)
    chosen = choose_runs(study, [each.cell for each in comparison.summaries], KEPT)
    answers = chosen.answers(builder.predictions_table())
    bootstrap = bootstrap_over_tasks(chosen, answers, ACCURACY, num_draws=500)
    leads = find_leads(comparison, bootstrap, {})
    return {(lead.port.variant.name, lead.against.variant.name, lead.port.size or 0): lead for lead in leads}


@pytest.fixture(scope="module")
def leads() -> dict[tuple[str, str, int], Lead]:
    builder = StudyBuilder(num_examples=120)
    builder.add("base", rates=(0.2,))
    for seed in (0, 1):
        for size, port, lora in ((4, 0.8, 0.4), (16, 0.8, 0.8), (48, 0.5, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("portal", seed=seed, size=size, rates=(port - 0.1,), label="half")
            builder.add("lora", seed=seed, size=size, rates=(lora,))
    builder.add("hypernet", seed=1, size=4, rates=(0.4,))
    builder.add("hypernet", seed=7, size=16, rates=(0.4,))
    return leads_of(builder)


def test_a_lead_is_the_difference_of_accuracies_with_an_interval(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    for size, low, high in ((4, 0.3, 0.5), (48, -0.5, -0.3)):
        difference = leads["portal", "lora", size].difference
        assert difference.value is not None
        assert low < difference.value < high
        assert difference.excludes_zero
    assert not leads["portal", "lora", 16].difference.excludes_zero


def test_methods_are_compared_where_they_share_size_and_seeds(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    assert leads["portal", "lora", 4].num_seeds == 2
    assert leads["portal", "hypernet", 4].num_seeds == 1
    assert ("portal", "hypernet", 16) not in leads
    assert not any(against in ("base", "portal") and port == against for port, against, _ in leads)


def test_two_ports_are_compared_once(leads: dict[tuple[str, str, int], Lead]) -> None:
    pairs = {frozenset((port, against)) for port, against, size in leads if size == 4}

    assert len(pairs) == len([1 for *_, size in leads if size == 4])
    assert frozenset(("portal", "half")) in pairs


def test_without_draws_nothing_is_compared() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))

    assert find_leads(compare(gather_runs(builder.results_table()), "big", KEPT), None, {}) == ()
