"""Single runs: their scores at the reported epochs, their settings, and what sets neighbours apart."""

import pytest

from analysis.stats.result_table import gather_runs
from analysis.stats.run_summaries import Neighbourhood, RunSummary, shown_settings, summarise_runs
from portal.run_details import RunDetail
from tests.support.result_tables import row, to_table


def detail(key: str, *, method: str = "lora", state: str = "done", **settings: object) -> RunDetail:
    return RunDetail(key, method, f"{method} {key}", state, None, {"method": method, **settings})  # type: ignore[arg-type]


def rows_of(key: str, scores: dict[str, float], *, base: str = "big", **values: object) -> list[dict]:
    return [
        row(run=key, base=base, method="lora", modules="q,v", rank=8, task=task, epoch=1, acc_norm=score,
            log_loss=1 - score, split=split, **{"seed": 0, "size": 8, **values})
        for task, score in scores.items()
        for split in ("validation", "test")
    ]  # fmt: skip


def summaries_of(rows: list[dict], *details: RunDetail) -> tuple[RunSummary, ...]:
    return summarise_runs(gather_runs(to_table(rows)), {each.run: each for each in details})


def test_a_score_is_the_mean_over_tasks_then_over_bases() -> None:
    rows = [*rows_of("a", {"t": 0.5, "u": 0.7}), *rows_of("a", {"t": 0.2, "u": 0.2}, base="small")]
    (summary,) = summaries_of(rows, detail("a"))

    assert summary.score == pytest.approx(0.4)
    assert summary.log_loss == pytest.approx(0.6)
    assert [run.cell.base for run in summary.runs] == ["big", "small"]
    assert summary.scores(summary.runs[0])["u"].score == 0.7


def test_a_run_without_rows_has_the_cause_for_a_reason() -> None:
    failed = RunDetail("b", "lora", "lora b", "failed", "the loss is nan", {"method": "lora"})
    done, absent = summaries_of(rows_of("a", {"t": 0.5}), detail("a"), failed)

    assert (done.score, done.reason) == (0.5, None)
    assert (absent.score, absent.reason, absent.runs) == (None, "the loss is nan", ())


def test_settings_are_told_by_their_path_without_those_that_are_not_set() -> None:
    settings = {
        "method": "lora",
        "seed": None,
        "bases": [{"name": "big", "revision": "0"}, {"name": "small", "revision": "1"}],
        "train": {"lr": 0.0014, "betas": [0.9, 0.999], "keep": "last"},
        "data": {"tasks": [f"t{number}" for number in range(9)], "files": {}},
    }

    assert shown_settings(settings) == {
        "method": "lora",
        "bases": "big 0, small 1",
        "train.lr": "0.0014",
        "train.betas": "0.9, 0.999",
        "train.keep": "last",
        "data.tasks": "9 (t0, t1, ...)",
    }


def labelled(key: str, label: str, **settings: object) -> RunDetail:
    return RunDetail(key, label, f"lora {key}", "done", None, {"method": "lora", **settings})


def test_neighbours_are_done_runs_of_the_method_with_the_fewest_other_settings() -> None:
    details = (
        labelled("p", "of5", seed=9),
        labelled("q", "of140", seed=9),
        labelled("a", "lora-of140", seed=0, size=48, source="q"),
        labelled("b", "lora-of5", seed=0, size=48, source="p"),
        labelled("c", "lora-of140", seed=1, size=16, source="q"),
        labelled("d", "lora-of140", seed=0, size=16, source="q"),
        labelled("e", "lora-of5", seed=0, size=48, source="q", tasks=["t"] * 9),
        labelled("f", "lora-of140", seed=0, size=48, source="q"),
        detail("g", method="portal", seed=0),
    )
    rows = [
        each for seed, key in enumerate("abcde", start=10) for each in rows_of(key, {"t": 0.5}, seed=seed)
    ]
    summaries = summaries_of(rows, *details)
    own = next(each for each in summaries if each.key == "a")
    found = Neighbourhood(summaries).of(own, 9)

    assert [each.summary.key for each in found] == ["d", "b", "e", "c"]
    assert [each.differences for each in found] == [
        (("size", "48", "16"),),
        (("source", "of140", "of5"),),
        (("tasks", "none", "9 (t, t, ...)"),),
        (("seed", "0", "1"), ("size", "48", "16")),
    ]
    assert len(Neighbourhood(summaries).of(own, 1)) == 1


def test_settings_that_look_alike_when_they_are_cut_still_differ() -> None:
    long = [f"t{number}" for number in range(9)]
    details = (labelled("a", "lora", tasks=long), labelled("b", "lora", tasks=[*long[:-1], "u"]))
    rows = [*rows_of("a", {"t": 0.5}, seed=0), *rows_of("b", {"t": 0.5}, seed=1)]
    summaries = summaries_of(rows, *details)

    (other,) = Neighbourhood(summaries).of(summaries[0], 9)

    assert [name for name, _, _ in other.differences] == ["tasks"]


def test_a_run_that_is_done_without_a_score_here_says_why() -> None:
    _, passed_over = summaries_of(rows_of("a", {"t": 0.5}), detail("a"), detail("z"))

    assert passed_over.reason is not None
    assert "another run fills its place" in passed_over.reason
