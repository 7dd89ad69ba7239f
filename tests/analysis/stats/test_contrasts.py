"""Answers of port and LoRA that differ in worth: matched by row, worst first, of a seed that both have."""

import pyarrow as pa

from analysis.stats.aggregate import compare
from analysis.stats.contrasts import MOST_OF_A_BASE, Contrast, find_contrasts
from analysis.stats.result_table import gather_runs
from analysis.stats.shown_answers import ShownAnswer
from portal.results import GENERATIONS, PREDICTIONS
from portal.run_details import Question
from tests.support.result_tables import row, to_table


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
