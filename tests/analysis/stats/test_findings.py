"""Findings do not depend on order or names; cells of two studies are paired; what sets single runs apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.report.sentences import compare_methods, headline
from analysis.stats.findings import (
    Findings,
    Neighbourhood,
    RunSummary,
    Target,
    find_pairs,
    load_findings,
    shown_settings,
    summarise_runs,
)
from portal.methods import METHODS, PORTAL, SOURCE
from portal.results import RunDetail, StudyInfo, write_table
from tests.support.counts import times
from tests.support.result_tables import (
    TASKS,
    StudyBuilder,
    known,
    limits,
    row,
    study_of,
    study_with_port,
    target_of,
    to_table,
)

SIZES = (8, 16, 32)


def small_study() -> StudyBuilder:
    builder = StudyBuilder(num_examples=12)
    for base in ("big", "other"):
        builder.add("base", base=base, rates=(0.3,))
        for seed in range(2):
            for place, size in enumerate(SIZES):
                rise = 0.1 * place
                for method, rates in (("lora", (0.4 + rise, 0.45 + rise)), ("portal", (0.5 + rise, 0.5))):
                    builder.add(method, base=base, seed=seed, size=size, rates=rates)
    return builder


BUILDER = small_study()
KEYS = sorted({line["run"] for line in BUILDER.rows if line["base"] == "big" and line["method"] == "portal"})


def findings_of(rows: list[dict], predictions: list[dict], folder: Path) -> Findings:
    return load_findings(replace(BUILDER, rows=rows, predictions=predictions).write(folder))


def numbers(target: Target) -> tuple:
    """Everything a report prints, in a form that can be compared."""
    found = (target.rules, target.calibrations, target.curves, target.savings)
    return target.base, *found, compare_methods(target), headline(target)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings_of(BUILDER.rows, BUILDER.predictions, tmp_path_factory.mktemp("plain"))


with_folders = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(with_folders, max_examples=times(3, nightly=8))
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_predictions_changes_nothing(
    seed: int, plain: Findings, tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    rows, predictions = (
        [lines[place] for place in generator.permutation(len(lines))]
        for lines in (BUILDER.rows, BUILDER.predictions)
    )

    found = findings_of(rows, predictions, tmp_path)

    assert [*map(numbers, found.targets)] == [*map(numbers, plain.targets)]


@settings(with_folders, max_examples=times(3, nightly=5))
@given(seeds=st.permutations((0, 1)), tasks=st.permutations(TASKS))
def test_renaming_seeds_and_tasks_changes_no_mean_and_no_saving(
    seeds: list[int], tasks: list[str], plain: Findings, tmp_path: Path
) -> None:
    names, numbered = dict(zip(TASKS, tasks, strict=True)), {None: None, 0: seeds[0], 1: seeds[1]}
    rows = [{**line, "task": names[line["task"]], "seed": numbered[line["seed"]]} for line in BUILDER.rows]
    predictions = [{**line, "task": names[line["task"]]} for line in BUILDER.predictions]

    def means(target: Target) -> list[float | None]:
        summaries = target.comparison.headline_summaries
        return [
            *(each for line in summaries for each in (line.acc.mean, line.acc.std, line.lift.value)),
            *(each for line in target.calibrations for each in (line.ece.mean, line.nll.mean)),
            *(each.ratio.value for each in target.savings.found),
        ]

    renamed = findings_of(rows, predictions, tmp_path)

    for before, after in zip(plain.targets, renamed.targets, strict=True):
        assert means(after) == pytest.approx(means(before))


@settings(with_folders, max_examples=times(3, nightly=6))
@given(key=st.sampled_from(KEYS))
def test_a_missing_run_changes_only_its_own_cells(key: str, plain: Findings, tmp_path: Path) -> None:
    rows = [line for line in BUILDER.rows if line["run"] != key]
    predictions = [line for line in BUILDER.predictions if line["run"] != key]
    size = next(line["size"] for line in BUILDER.rows if line["run"] == key)

    (before, other), (after, same) = findings_of(rows, predictions, tmp_path).targets, plain.targets

    assert (other.base, numbers(other)) == ("other", numbers(same))
    for rule in before.rules:
        lines = zip(before.rules[rule].summaries, after.rules[rule].summaries, strict=True)
        changed = {new.cell for old, new in lines if old != new}
        assert {(cell.method, cell.size) for cell in changed} == {("portal", size)}
    for metric in ("acc", "log_loss"):
        curves = {curve.variant: curve for curve in after.curves[metric].curves}
        for curve in before.curves[metric].curves:
            assert (curve == curves[curve.variant]) == (curve.variant.method != "portal")
    old, new = (
        [each for each in target.calibrations if each.cell.method != "portal"] for target in (before, after)
    )
    assert old == new
    for line in after.comparison.headline_summaries:
        if line.cell.method != "portal":
            assert known(before.bootstrap).estimate(line.cell) == known(after.bootstrap).estimate(line.cell)


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

    assert study_of(rows).targets == ("further", "target", "big")
    assert known(target.port).cell.method == "moved"


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
    assert known(target.port).cell.method == "carried"
    (split,) = (each for each in target.task_splits if each.cell.method == "shared_lora")
    assert split.share.reason == "none of these tasks gave rows"
    shared = next(run for run in findings.study.runs if run.cell.method == "shared_lora")
    assert shared.without_rows == {"new"}


def test_differences_are_those_of_the_two_tables_and_paired(tmp_path: Path) -> None:
    first, second = (
        load_findings(study_with_port(rate).write(tmp_path / name))
        for name, rate in (("a", 0.6), ("b", 0.75))
    )
    pairs = {pair.cell.method: pair for pair in find_pairs((first, second), "big")}
    port, lora = pairs["portal"], pairs["lora"]
    before, after = (known(summary).acc.known for summary in port.summaries)

    assert port.difference.value == pytest.approx(after - before)
    assert port.difference.excludes_zero
    assert port.num_seeds == 3
    assert (lora.difference.value, *limits(lora.difference)) == (0, 0, 0)


def detail(key: str, *, method: str = "lora", label: str | None = None, **settings: object) -> RunDetail:
    return RunDetail(key, label or method, f"{method} {key}", "done", None, {"method": method, **settings})


def rows_of(key: str, scores: dict[str, float], *, base: str = "big", **values: object) -> list[dict]:
    return [
        row(run=key, base=base, method="lora", modules="q,v", rank=8, task=task, epoch=1, acc_norm=score,
            log_loss=1 - score, split=split, **{"seed": 0, "size": 8, **values})
        for task, score in scores.items()
        for split in ("validation", "test")
    ]  # fmt: skip


def summaries_of(rows: list[dict], *details: RunDetail) -> tuple[RunSummary, ...]:
    return summarise_runs(study_of(rows), {each.run: each for each in details})


def test_a_score_is_the_mean_over_tasks_then_over_bases() -> None:
    rows = [*rows_of("a", {"t": 0.5, "u": 0.7}), *rows_of("a", {"t": 0.2, "u": 0.2}, base="small")]
    (summary,) = summaries_of(rows, detail("a"))

    assert (summary.score, summary.log_loss) == pytest.approx((0.4, 0.6))
    assert [run.cell.base for run in summary.runs] == ["big", "small"]
    assert summary.scores(summary.runs[0])["u"].score == 0.7


def test_a_run_without_a_score_says_why() -> None:
    failed = RunDetail("b", "lora", "lora b", "failed", "the loss is nan", {"method": "lora"})
    done, absent, passed_over = summaries_of(rows_of("a", {"t": 0.5}), detail("a"), failed, detail("z"))

    assert (done.score, done.reason) == (0.5, None)
    assert (absent.score, absent.reason, absent.runs) == (None, "the loss is nan", ())
    assert "another run fills its place" in known(passed_over.reason)


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


def test_neighbours_are_done_runs_of_the_method_with_the_fewest_other_settings() -> None:
    details = (
        detail("p", label="of5", seed=9),
        detail("q", label="of140", seed=9),
        detail("a", label="lora-of140", seed=0, size=48, source="q"),
        detail("b", label="lora-of5", seed=0, size=48, source="p"),
        detail("c", label="lora-of140", seed=1, size=16, source="q"),
        detail("d", label="lora-of140", seed=0, size=16, source="q"),
        detail("e", label="lora-of5", seed=0, size=48, source="q", tasks=["t"] * 9),
        detail("f", label="lora-of140", seed=0, size=48, source="q"),
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
    tasks = {"a": long, "b": [*long[:-1], "u"]}
    rows = [line for seed, key in enumerate(tasks) for line in rows_of(key, {"t": 0.5}, seed=seed)]
    summaries = summaries_of(rows, *(detail(key, tasks=own) for key, own in tasks.items()))

    (other,) = Neighbourhood(summaries).of(summaries[0], 9)

    assert [name for name, _, _ in other.differences] == ["tasks"]
