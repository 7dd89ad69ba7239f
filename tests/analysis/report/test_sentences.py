"""Sentences name the variant that they are about, and say savings where they are shown."""

from analysis.report.sentences import describe_savings, headline
from analysis.stats.bootstrap import Interval
from analysis.stats.curves import Ratio, Saving
from analysis.stats.result_table import MethodKey
from tests.support.result_tables import row, study_of_ranks, target_of


def test_the_headline_says_of_how_many_variants_its_own_was_chosen_and_by_what() -> None:
    ranks = study_of_ranks({2: 0.4, 8: 0.7}).rows
    unjudged = [line for line in ranks if line["split"] == "test"]
    for rows, name in (
        (ranks, "PorTAL (r8) q,v r8, of two variants the best on validation rows,"),
        (unjudged, "PorTAL (r2) q,v r2, the first of two variants (none has scores on validation rows),"),
        # A plain method names its settings beside variants alone.
        (study_of_ranks({2: 0.7}, portal=0.5).rows, "PorTAL q,v r8"),
        (study_of_ranks({}, portal=0.5).rows, "PorTAL"),
    ):
        assert headline(target_of(rows)).startswith(f"On big, {name} recovers ")


def test_a_base_that_new_tasks_are_taught_on_has_no_port_and_says_what_gave_latents() -> None:
    base = row(run="base", method="base", acc_norm=0.25)
    lora, taught = (
        row(run=method, method=method, seed=0, size=48, epoch=1, acc_norm=acc, modules="q,v", rank=8)
        for method, acc in (("lora", 0.75), ("taught", 0.5))
    )
    described, control = (
        row(run=method, method=method, seed=0, size=0, acc_norm=acc)
        for method, acc in (("described", 0.75), ("mismatched_description", 0.5))
    )

    taught_here = "big: new tasks are taught on this base, accuracy 0.250 frozen, "
    for rows, text in (
        ([lora, taught], f"{taught_here}0.500 with taught latents, 0.750 with a LoRA for each task."),
        ([described, control], f"{taught_here}0.750 with described latents."),
        ([lora], "big: no port on this base has results."),
    ):
        assert headline(target_of([base, *rows])) == text


PORT = MethodKey("portal", "portal", None, None, None)
CONTROL = MethodKey("shared_lora", "shared_lora", None, None, None)


def saving(
    share: float,
    value: float,
    low: float | None,
    high: float | None,
    *,
    axis: str = "size",
    variant: MethodKey = PORT,
    reached: bool = True,
) -> Saving:
    interval = Interval(value, low, high) if reached else Interval(None, None, None, reason="not reached")
    return Saving(variant, axis, share, 0.5, 10.0 if reached else None, 10 * value, Ratio(interval))


def test_the_text_is_on_the_highest_share_that_is_shown_and_says_what_is_not_above_it() -> None:
    shown = [
        saving(0.5, 2.5, 2, 3),
        saving(0.75, 2, 1.5, 2.5),
        saving(0.9, 1.1, 0.8, 1.5),
        saving(1.0, 0.5, 0.4, 0.7),
    ]

    assert describe_savings(shown) == [
        "PorTAL reaches 75 % of the per-task LoRA's lift (acc_norm 0.500) with 2 times less data (10 rows "
        "per task instead of 20; 95 % interval 1.5 to 2.5 times less). At 90 % it is not shown to need fewer "
        "or more. At 100 % it needs 2 times more (10 rows per task instead of 5; 95 % interval 1.43 to 2.5 "
        "times more)."
    ]
    assert describe_savings([saving(0.5, 2.0, None, None)]) == [  # without an interval nothing is shown
        "PorTAL reaches 50 % of the per-task LoRA's lift (acc_norm 0.500) with 2 times less data (10 rows "
        "per task instead of 20)."
    ]


def test_where_none_is_shown_the_text_says_so_plainly() -> None:
    (text,) = describe_savings(
        [saving(0.5, 1.2, 0.9, 1.6), saving(0.75, 1.1, 0.8, 1.5), saving(0.9, 1, 0, 0, reached=False)]
    )

    assert text.startswith("PorTAL reaches 75 % of the per-task LoRA's lift")
    assert "At none of 50 %, 75 % and 90 % of that lift is it shown to need fewer rows per task." in text
    assert text.endswith("It does not reach 90 %.")


def test_rows_of_all_tasks_are_told_where_they_differ_from_those_per_task() -> None:
    per_task, alike = saving(0.5, 2, 1.5, 3), saving(0.5, 2, 1.5, 3, axis="rows")
    fewer = saving(0.5, 4, 3, 6, axis="rows")

    assert "data of all tasks" not in describe_savings([per_task, alike])[0]
    more = "and 4 times less data of all tasks (10 rows instead of 40; 95 % interval"
    assert more in describe_savings([per_task, fewer])[0]


def test_ports_come_first_and_methods_that_reach_nothing_last_and_together() -> None:
    others = [MethodKey("hypernet", name, None, None, None) for name in ("one", "two")]
    nothing = [
        saving(share, 1, 0, 0, variant=each, reached=False) for each in others for share in (0.5, 0.75)
    ]
    texts = describe_savings([*nothing, saving(0.5, 2, 1.5, 3, variant=CONTROL), saving(0.5, 2, 1.5, 3)])

    assert [text.split(" reach")[0] for text in texts] == [
        "PorTAL",
        "one LoRA for all tasks",
        "LoRA hypernet (one) and LoRA hypernet (two) do not",
    ]
    assert texts[-1].endswith("do not reach 50 % of the per-task LoRA's lift.")
