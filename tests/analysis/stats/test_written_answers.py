"""Written answers that differ in worth: matched by row, worst first, of the seed that both methods have."""

from pathlib import Path

import pyarrow as pa

from analysis.stats.aggregate import compare
from analysis.stats.result_table import gather_runs
from analysis.stats.written_answers import Contrast, find_contrasts
from portal.results import GENERATIONS, write_table
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


def contrasts(folder: Path, generations: list[dict]) -> tuple[Contrast, ...]:
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
    path = folder / "generations.parquet"
    write_table(pa.Table.from_pylist(generations, schema=GENERATIONS), path)
    return find_contrasts(study, comparison, port, path)


def test_rows_are_matched_and_the_ports_worst_come_first(tmp_path: Path) -> None:
    found = contrasts(tmp_path, [
        *answers("portal1", "list", [0.5, 1.0, 0.0, 0.25, 0.75, 1.0]),
        *answers("lora1", "list", [0.5, 0.0, 1.0, 0.5, 0.5, 0.5]),
        *answers("portal1", "fact", [1.0]),
        *answers("lora1", "fact", [1.0]),
        *answers("portal2", "fact", [0.0]),
        *answers("lora0", "fact", [0.5]),
        *answers("lora1", "list", [0.0] * 6, epoch=0),
    ])  # fmt: skip

    assert [(each.task, each.example) for each in found] == [("list", "2"), ("list", "3"), ("list", "4")]
    assert found[0] == Contrast("list", "2", "prompt 2", "right", "portal1 2", 0.0, "lora1 2", 1.0)


def test_without_answers_that_differ_there_is_nothing(tmp_path: Path) -> None:
    assert contrasts(tmp_path, [*answers("portal1", "list", [1.0]), *answers("lora1", "list", [1.0])]) == ()
    assert contrasts(tmp_path, answers("portal1", "list", [1.0])) == ()
    assert contrasts(tmp_path, []) == ()


def test_nothing_is_compared_without_a_port_or_answers(tmp_path: Path) -> None:
    study = gather_runs(to_table([rows_of("b", "base", None, "list", 0)]))
    comparison = compare(study, "big")
    path = tmp_path / "generations.parquet"
    write_table(GENERATIONS.empty_table(), path)

    assert find_contrasts(study, comparison, None, path) == ()
    assert find_contrasts(study, comparison, comparison.frozen_base, tmp_path / "absent.parquet") == ()
