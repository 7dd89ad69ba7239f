"""Sentences on savings: where they are shown, where they are not, and where a method needs more."""

from analysis.report.saving_sentences import describe_savings
from analysis.stats.bootstrap import Interval
from analysis.stats.result_table import MethodKey
from analysis.stats.savings import Ratio, Saving

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
    ratio = (
        Ratio(Interval(value, low, high))
        if reached
        else Ratio(Interval(None, None, None, reason="not reached"))
    )
    return Saving(variant, axis, share, 0.5, 10.0 if reached else None, 10 * value, ratio)


def test_the_text_is_on_the_highest_share_that_is_shown_and_says_what_is_not_above_it() -> None:
    (text,) = describe_savings(
        [
            saving(0.5, 2.5, 2, 3),
            saving(0.75, 2, 1.5, 2.5),
            saving(0.9, 1.1, 0.8, 1.5),
            saving(1.0, 0.5, 0.4, 0.7),
        ]
    )

    assert text == (
        "PorTAL reaches 75 % of the per-task LoRA's lift (acc_norm 0.500) with 2 times less data (10 rows "
        "per task instead of 20; 95 % interval 1.5 to 2.5 times less). At 90 % it is not shown to need fewer "
        "or more. At 100 % it needs 2 times more (10 rows per task instead of 5; 95 % interval 1.43 to 2.5 "
        "times more)."
    )


def test_where_none_is_shown_the_text_says_so_plainly() -> None:
    (text,) = describe_savings(
        [saving(0.5, 1.2, 0.9, 1.6), saving(0.75, 1.1, 0.8, 1.5), saving(0.9, 1, 0, 0, reached=False)]
    )

    assert text.startswith("PorTAL reaches 75 % of the per-task LoRA's lift")
    assert "At none of 50 %, 75 % and 90 % of that lift is it shown to need fewer rows per task." in text
    assert text.endswith("It does not reach 90 %.")


def test_without_intervals_nothing_is_said_of_what_is_shown() -> None:
    (text,) = describe_savings([saving(0.5, 2.0, None, None)])

    assert text == (
        "PorTAL reaches 50 % of the per-task LoRA's lift (acc_norm 0.500) with 2 times less data (10 rows "
        "per task instead of 20)."
    )


def test_rows_of_all_tasks_are_told_where_they_differ_from_those_per_task() -> None:
    per_task, alike = saving(0.5, 2, 1.5, 3), saving(0.5, 2, 1.5, 3, axis="rows")
    fewer = saving(0.5, 4, 3, 6, axis="rows")

    assert "data of all tasks" not in describe_savings([per_task, alike])[0]
    assert (
        "and 4 times less data of all tasks (10 rows instead of 40; 95 % interval"
        in (describe_savings([per_task, fewer])[0])
    )


def test_ports_come_first_and_methods_that_reach_nothing_last_and_together() -> None:
    others = [MethodKey("hypernet", name, None, None, None) for name in ("one", "two")]
    texts = describe_savings(
        [
            *(
                saving(share, 1, 0, 0, variant=each, reached=False)
                for each in others
                for share in (0.5, 0.75)
            ),
            saving(0.5, 2, 1.5, 3, variant=CONTROL),
            saving(0.5, 2, 1.5, 3),
        ]
    )

    assert [text.split(" reach")[0] for text in texts] == [
        "PorTAL",
        "one LoRA for all tasks",
        "LoRA hypernet (one) and LoRA hypernet (two) do not",
    ]
    assert texts[-1].endswith("do not reach 50 % of the per-task LoRA's lift.")
