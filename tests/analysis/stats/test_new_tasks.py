"""New tasks by the number of tasks that their source had."""

import pytest

from analysis.stats.new_tasks import NewTasks, Place, find_families
from portal.results import StudyInfo
from tests.support.few_rows import INFO, KNOWN, NEW, SOURCES, few_rows_study, new_tasks_study, target_of_study
from tests.support.result_tables import StudyBuilder, known, limits

TITLES = ("new tasks of known kinds", "new tasks of kinds that every source had", "new tasks of new kinds")


def new_tasks_of(builder: StudyBuilder, info: StudyInfo = INFO, *, with_predictions: bool = True) -> NewTasks:
    return known(target_of_study(builder, info=info, with_predictions=with_predictions).new_tasks)


@pytest.fixture(scope="module")
def found() -> NewTasks:
    return new_tasks_of(new_tasks_study())


def place_of(found: NewTasks, family: str, rows: int | None, tasks: int | None) -> Place:
    spots = {(each.family, each.rows, each.num_tasks): each for each in found.places}
    return spots[family, rows, tasks]


def test_tasks_are_divided_by_whether_a_source_had_their_kind_and_by_groups_of_the_study_file(
    found: NewTasks,
) -> None:
    groups = {"shapes": ("room_1", "town_1"), "styles": ("room_2",), "kinds": NEW}
    grouped = new_tasks_of(new_tasks_study(), INFO.model_copy(update={"task_groups": groups}))

    rooms = ("room_1", "room_2")
    assert tuple(each.title for each in found.sets) == TITLES
    assert [each.tasks for each in found.sets] == [KNOWN, rooms, NEW]
    assert [each.of_kinds({"room"}) for each in found.sets] == [2, 2, 0]
    assert {each.title: each.tasks for each in grouped.sets} == {
        f"{TITLES[0]} (shapes)": ("room_1", "town_1"),
        f"{TITLES[0]} (styles)": ("room_2",),
        f"{TITLES[0]} (others)": ("town_2",),
        TITLES[1]: rooms,
        TITLES[2]: NEW,
    }


def test_a_place_knows_its_source_and_the_controls_of_the_same_source(found: NewTasks) -> None:
    small, large = (place_of(found, "carried", 4, tasks) for tasks in (1, 2))
    lora = place_of(found, "lora", 48, None)

    assert [place.source_kinds for place in (small, large, lora)] == [{"room"}, {"room", "town"}, frozenset()]
    assert (lora.is_main, lora.is_control, small.is_main) == (False, False, True)
    assert [control.cell.variant.name for control in found.controls_of(small)] == ["mean_latent-of1"]


def test_scores_are_of_the_sets_own_tasks_lift_is_against_the_lora_there_and_leads_are_paired(
    found: NewTasks,
) -> None:
    of_known, _, of_new = found.sets
    place, control = place_of(found, "carried", 16, 2), place_of(found, "mean_latent", None, 2)
    on_known, on_new = of_known.scores[place.cell], of_new.scores[place.cell]
    lead = known(of_known.lead(place, control))

    assert on_known.summary.acc.known == pytest.approx(0.8, abs=0.08)
    assert on_new.summary.acc.known == pytest.approx(0.4, abs=0.12)
    assert on_known.summary.lift.value == pytest.approx((0.8 - 0.2) / (0.9 - 0.2), abs=0.1)
    for score in (on_known, on_new):
        low, high = limits(score.accuracy)
        assert low < score.summary.acc.known < high
    behind = of_known.scores[control.cell].summary.acc.known
    assert lead.value == pytest.approx(on_known.summary.acc.known - behind)
    assert lead.excludes_zero


@pytest.fixture(scope="module")
def controlled() -> NewTasks:
    """The study with latents of other tasks and of the nearest ones, carried."""
    builder = new_tasks_study()
    for label, method, size in (
        ("mismatched_latent-of2", "mismatched_latent", 4),
        ("mismatched_latent-of2", "mismatched_latent", 16),
        ("mismatched-described-of2", "mismatched_latent", 0),
        ("carried-described-of2", "carried", 0),
        ("carried-nearest-of2", "carried", 16),
        ("carried-other-of2", "carried", 4),
        ("nearest_latent-of2", "nearest_latent", 16),
        ("described-of2", "described", 0),
        ("taught-of2", "taught", 4),
    ):
        builder.add(method, seed=0, size=size, rates=(0.5,), label=label)
    labels = {line["label"] for line in builder.rows if str(line["label"]).endswith("of2")}
    latents_of = {
        "carried-of2": "taught-of2",
        "mismatched_latent-of2": "taught-of2",
        "mismatched-described-of2": "described-of2",
        "carried-described-of2": "described-of2",
        "carried-nearest-of2": "nearest_latent-of2",
    }
    sources = {**INFO.source_tasks, **dict.fromkeys(labels, SOURCES["of2"])}
    return new_tasks_of(builder, INFO.model_copy(update={"source_tasks": sources, "latents_of": latents_of}))


def test_a_control_lends_latents_of_other_tasks_has_as_many_rows_and_latents_taught_in_the_same_way(
    controlled: NewTasks,
) -> None:
    def controls(family: str, rows: int) -> set[tuple[str, int | None]]:
        place = place_of(controlled, family, rows, 2)
        return {(each.family, each.rows) for each in controlled.controls_of(place)}

    assert {place.family for place in controlled.places if place.is_control} == {
        "mean_latent", "mismatched_latent", "mismatched-described", "carried-nearest", "nearest_latent",
    }  # fmt: skip
    always = {("mean_latent", None), ("carried-nearest", 16), ("nearest_latent", 16)}
    assert controls("carried", 4) == {*always, ("mismatched_latent", 4)}
    assert controls("carried", 16) == {*always, ("mismatched_latent", 16)}
    assert controls("carried-described", 0) == {*always, ("mismatched-described", 0)}


def test_rivals_are_also_loras_and_earlier_methods_with_as_many_rows(controlled: NewTasks) -> None:
    def more(family: str) -> set[tuple[str, int | None]]:
        place = place_of(controlled, family, 4, 2)
        rivals = set(controlled.rivals_of(place)) - set(controlled.controls_of(place))
        return {(each.family, each.rows) for each in rivals}

    assert more("carried") == {("lora", 4), ("taught", 4)}
    assert more("carried-other") == {("lora", 4), ("taught", 4), ("carried", 4)}


def test_half_of_the_lift_is_reached_from_the_smallest_source_after_which_none_falls_below(
    found: NewTasks,
) -> None:
    of_known, _, of_new = found.sets
    on_known, on_new = (known(found.half_way(each, "carried")) for each in (of_known, of_new))

    assert on_known.first == place_of(found, "carried", 16, 1)
    assert (on_new.first, on_new.best.num_tasks) == (None, 2)
    assert on_new.lift == pytest.approx(2 / 7, abs=0.15)
    assert found.half_way(of_known, "mean_latent") is None


def test_a_methods_name_is_enough_where_it_has_one_family_and_two_keep_their_labels(found: NewTasks) -> None:
    builder = new_tasks_study()
    for variant in SOURCES:
        builder.add("carried", seed=0, size=0, rates=(0.5,), label=f"carried-described-{variant}")
    labels = {f"carried-described-{variant}": tasks for variant, tasks in SOURCES.items()}
    info = INFO.model_copy(update={"source_tasks": {**INFO.source_tasks, **labels}})
    two = new_tasks_of(builder, info, with_predictions=False)

    assert {found.name(place) for place in found.places} == {
        "carried latents", "port with the mean latent", "per-task LoRA", "frozen base",
    }  # fmt: skip
    names = {two.name(place) for place in two.places if place.cell.method == "carried"}
    assert names == {"carried latents (carried)", "carried latents (carried-described)"}


def test_a_family_is_a_label_without_what_its_source_has_in_common() -> None:
    labels = {
        f"{family}-{of}": tasks
        for family in ("source", "carried-x")
        for of, tasks in (("of-35", ("a", "b")), ("of-5", ("a",)))
    }

    assert find_families(labels) == {label: label.partition("-of-")[0] for label in labels}
    assert find_families({"carried-best": ("a",)}) == {"carried-best": "carried-best"}


def test_tasks_without_kinds_are_one_set_and_without_predictions_there_are_no_intervals() -> None:
    info = INFO.model_copy(update={"kinds": {}})
    found = new_tasks_of(new_tasks_study(), info, with_predictions=False)

    assert [(each.title, len(each.tasks)) for each in found.sets] == [("new tasks", 6)]
    score = found.sets[0].scores[place_of(found, "carried", 4, 2).cell]
    assert (score.accuracy, score.lift) == (None, None)
    assert target_of_study(few_rows_study(port=0.7, shared=0.3), with_predictions=False).new_tasks is None
