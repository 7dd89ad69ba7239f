"""Sentences name the variant that they are about, and say savings where they are shown."""

from analysis.report.sentences import describe_savings, headline
from analysis.stats.bootstrap import Interval
from analysis.stats.curves import Ratio, Saving
from analysis.stats.result_table import MethodKey
from tests.support.result_tables import row, study_of_ranks, target_of


def test_the_headline_says_of_how_many_variants_its_own_was_chosen_and_by_what() -> None:
    text = headline(target_of(study_of_ranks({2: 0.4, 8: 0.7}).rows))

    assert text.startswith(
        "On big, PorTAL (r8) q,v r8, of two variants the best on validation rows, recovers "
    )


def test_the_headline_says_that_nothing_chose_where_no_variant_has_validation_rows() -> None:
    builder = study_of_ranks({2: 0.4, 8: 0.7})
    text = headline(target_of([line for line in builder.rows if line["split"] == "test"]))

    assert "PorTAL (r2) q,v r2, the first of two variants (none has scores on validation rows), rec" in text


def test_the_headline_of_a_plain_method_names_its_settings_beside_variants_alone() -> None:
    assert headline(target_of(study_of_ranks({2: 0.7}, portal=0.5).rows)).startswith(
        "On big, PorTAL q,v r8 recovers "
    )
    assert headline(target_of(study_of_ranks({}, portal=0.5).rows)).startswith("On big, PorTAL recovers ")


def test_a_base_that_new_tasks_are_taught_on_has_no_port_and_says_what_was_taught() -> None:
    rows = [
        row(run="base", method="base", acc_norm=0.25),
        row(run="lora", method="lora", seed=0, size=48, epoch=1, acc_norm=0.75, modules="q,v", rank=8),
    ]
    taught = row(run="t", method="taught", seed=0, size=48, epoch=1, acc_norm=0.5, modules="q,v", rank=8)

    assert headline(target_of([*rows, taught])) == (
        "big: new tasks are taught on this base, accuracy 0.250 frozen, 0.500 with taught latents, "
        "0.750 with a LoRA for each task."
    )
    assert headline(target_of(rows)) == "big: no port on this base has results."


def test_a_base_says_what_descriptions_gave_without_their_control() -> None:
    rows = [
        row(run="base", method="base", acc_norm=0.25),
        row(run="d", method="described", seed=0, size=0, acc_norm=0.75),
        row(run="m", method="mismatched_description", seed=0, size=0, acc_norm=0.5),
    ]

    assert headline(target_of(rows)) == (
        "big: new tasks are taught on this base, accuracy 0.250 frozen, 0.750 with described latents."
    )


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
