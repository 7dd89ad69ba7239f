"""Findings do not depend on order or names; cells of two studies are paired; what sets single runs apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.report.sentences import compare_methods, headline
from analysis.stats.findings import (
    Findings,
    Neighbourhood,
    RunSummary,
    find_pairs,
    load_findings,
    shown_settings,
    summarise_runs,
)
from analysis.stats.result_table import gather_runs
from portal.methods import METHODS, PORTAL, SOURCE
from portal.results import PREDICTIONS, RunDetail, StudyInfo, write_table
from tests.support.result_tables import StudyBuilder, row, study_with_port, target_of, to_table

SIZES = (8, 16, 32)


def small_study() -> StudyBuilder:
    builder = StudyBuilder(num_examples=12)
    for base in ("big", "other"):
        builder.add("base", base=base, rates=(0.3,))
        for seed in range(2):
            for place, size in enumerate(SIZES):
                builder.add(
                    "lora", base=base, seed=seed, size=size, rates=(0.4 + 0.1 * place, 0.45 + 0.1 * place)
                )
                builder.add("portal", base=base, seed=seed, size=size, rates=(0.5 + 0.1 * place, 0.5))
    return builder


BUILDER = small_study()
KEYS = sorted({line["run"] for line in BUILDER.rows if line["base"] == "big" and line["method"] == "portal"})


def findings_of(rows: list[dict], predictions: list[dict], folder: Path) -> Findings:
    folder.mkdir(parents=True, exist_ok=True)
    builder = replace(BUILDER, rows=rows, predictions=predictions)
    write_table(builder.results_table(), folder / "results.parquet")
    write_table(pa.Table.from_pylist(predictions, schema=PREDICTIONS), folder / "predictions.parquet")
    return load_findings(folder)


def numbers(findings: Findings) -> list:
    """Everything a report prints, in a form that can be compared."""
    return [
        (
            target.base,
            target.rules,
            target.calibrations,
            target.curves,
            target.savings,
            compare_methods(target),
            headline(target),
        )
        for target in findings.targets
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings_of(BUILDER.rows, BUILDER.predictions, tmp_path_factory.mktemp("plain"))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_predictions_changes_nothing(
    seed: int, plain: Findings, tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    rows = [BUILDER.rows[place] for place in generator.permutation(len(BUILDER.rows))]
    predictions = [BUILDER.predictions[place] for place in generator.permutation(len(BUILDER.predictions))]
    assert numbers(findings_of(rows, predictions, tmp_path)) == numbers(plain)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds=st.permutations((0, 1)), tasks=st.permutations(("capital", "pronoun", "yes-no")))
def test_renaming_seeds_and_tasks_changes_no_mean_and_no_saving(
    seeds: list[int], tasks: list[str], plain: Findings, tmp_path: Path
) -> None:
    names = dict(zip(("capital", "pronoun", "yes-no"), tasks, strict=True))
    rows = [
        {
            **line,
            "task": names[line["task"]],
            "seed": None if line["seed"] is None else seeds[line["seed"]],
        }
        for line in BUILDER.rows
    ]
    predictions = [{**line, "task": names[line["task"]]} for line in BUILDER.predictions]
    renamed = findings_of(rows, predictions, tmp_path)
    for before, after in zip(plain.targets, renamed.targets, strict=True):
        for old, new in zip(
            before.comparison.headline_summaries, after.comparison.headline_summaries, strict=True
        ):
            assert new.acc.mean == pytest.approx(old.acc.mean)
            assert new.acc.std == pytest.approx(old.acc.std)
            assert new.lift.value == pytest.approx(old.lift.value)
        for was, now in zip(before.calibrations, after.calibrations, strict=True):
            assert now.ece.mean == pytest.approx(was.ece.mean)
            assert now.nll.mean == pytest.approx(was.nll.mean)
        for one, other in zip(before.savings.found, after.savings.found, strict=True):
            assert other.ratio.value == pytest.approx(one.ratio.value)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS))
def test_a_missing_run_changes_only_its_own_cells(key: str, plain: Findings, tmp_path: Path) -> None:
    rows = [line for line in BUILDER.rows if line["run"] != key]
    predictions = [line for line in BUILDER.predictions if line["run"] != key]
    without = findings_of(rows, predictions, tmp_path)
    size = next(line["size"] for line in BUILDER.rows if line["run"] == key)
    for before, after in zip(without.targets, plain.targets, strict=True):
        if before.base == "other":
            assert numbers(replace(without, targets=(before,))) == numbers(replace(plain, targets=(after,)))
            continue
        for rule in before.rules:
            lines = zip(before.rules[rule].summaries, after.rules[rule].summaries, strict=True)
            changed = {new.cell for old, new in lines if old != new}
            assert {(cell.method, cell.size) for cell in changed} == {("portal", size)}
        assert before.bootstrap is not None
        assert after.bootstrap is not None
        for metric in ("acc", "log_loss"):
            curves = {curve.variant: curve for curve in after.curves[metric].curves}
            for curve in before.curves[metric].curves:
                assert (curve == curves[curve.variant]) == (curve.variant.method != "portal")
        kept = [each for each in after.calibrations if each.cell.method != "portal"]
        assert [each for each in before.calibrations if each.cell.method != "portal"] == kept
        untouched = [
            line.cell for line in after.comparison.headline_summaries if line.cell.method != "portal"
        ]
        for cell in untouched:
            assert before.bootstrap.estimate(cell) == after.bootstrap.estimate(cell)


def test_a_method_that_starts_from_a_joint_source_is_a_port_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "joint", replace(SOURCE, name="joint"))
    monkeypatch.setitem(METHODS, "moved", replace(PORTAL, name="moved", parents=("joint",)))
    monkeypatch.setitem(METHODS, "moved_on", replace(PORTAL, name="moved_on", parents=("moved",)))
    rows = [
        row(run="a", base="big"),
        row(run="b", base="target"),
        row(run="c", base="target", method="moved", seed=0, size=8),
        row(run="d", base="where it came from", method="joint", seed=0, size=8),
        row(run="e", base="further", method="moved_on", seed=0, size=8),
    ]

    target = target_of(rows, "target")

    assert gather_runs(to_table(rows)).targets == ("further", "target", "big")
    assert target.port is not None
    assert target.port.cell.method == "moved"


def test_only_the_studys_own_tasks_are_compared_and_joint_training_stays_whole(tmp_path: Path) -> None:
    rows = [
        *(row(run="b", task=task, acc_norm=0.3) for task in ("new", "old")),
        row(run="c", method="carried", seed=0, size=4, task="new", acc_norm=0.7, calibrated=True),
        row(run="p", method=PORTAL.name, seed=0, size=8, task="old", acc_norm=0.9, calibrated=True),
        *(
            row(run="l", method="shared_lora", seed=0, size=8, task=task, acc_norm=acc, calibrated=seen)
            for task, acc, seen in (("new", 0.4, False), ("old", 0.8, True))
        ),
        row(run="s", method=SOURCE.name, seed=0, size=8, base="small", task="old", acc_norm=0.8),
    ]
    write_table(to_table(rows), tmp_path / "results.parquet")

    findings = load_findings(tmp_path, StudyInfo(own_tasks=("new",)))

    (target,) = findings.targets
    means = {summary.cell.method: summary.acc.mean for summary in target.comparison.summaries}
    assert means == {"base": 0.3, "carried": 0.7, "shared_lora": 0.4}
    assert [summary.acc.mean for summary in findings.sources] == [0.8]
    assert target.port is not None
    assert target.port.cell.method == "carried"
    assert {split.share.reason for split in target.task_splits if split.cell.method == "shared_lora"} == {
        "none of these tasks gave rows"
    }
    shared = next(run for run in findings.study.runs if run.cell.method == "shared_lora")
    assert shared.without_rows == {"new"}


def test_differences_are_those_of_the_two_tables_and_paired(tmp_path: Path) -> None:
    first, second = (
        load_findings(study_with_port(rate).write(tmp_path / name))
        for name, rate in (("a", 0.6), ("b", 0.75))
    )
    pairs = {pair.cell.method: pair for pair in find_pairs((first, second), "big")}
    port, lora = pairs["portal"], pairs["lora"]
    means = [summary.acc.known for summary in port.summaries if summary is not None]
    assert port.difference.value == pytest.approx(means[1] - means[0])
    assert port.difference.excludes_zero
    assert port.num_seeds == 3
    assert (lora.difference.value, lora.difference.low, lora.difference.high) == (0, 0, 0)


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
