"""Sentences name the variant that they are about, and how it was chosen."""

from analysis.report.sentences import headline
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
