"""New tasks by the number of tasks that their source had."""

import pytest

from analysis.stats.new_tasks import NewTasks, Place, find_families
from portal.results import StudyInfo
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.new_tasks import INFO, KNOWN, NEW, SOURCES, new_tasks_study, target_with_new_tasks
from tests.support.result_tables import StudyBuilder, known, limits


@pytest.fixture(scope="module")
def found() -> NewTasks:
    return known(target_with_new_tasks(new_tasks_study()).new_tasks)


def place_of(found: NewTasks, method: str, size: int, tasks: int | None) -> Place:
    spots = {(each.cell.method, each.cell.size, each.num_tasks): each for each in found.places}
    return spots[method, size, tasks]


def test_tasks_are_divided_by_whether_a_source_had_their_kind(found: NewTasks) -> None:
    assert [(each.title, each.tasks) for each in found.sets] == [
        ("new tasks of known kinds", KNOWN),
        ("new tasks of kinds that every source had", ("room_1", "room_2")),
        ("new tasks of new kinds", NEW),
    ]
    assert [each.of_kinds({"room"}) for each in found.sets] == [2, 2, 0]


def test_groups_of_the_study_file_divide_tasks_of_known_and_of_new_kinds() -> None:
    groups = {"shapes": ("room_1", "town_1"), "styles": ("room_2",), "kinds": NEW}
    info = INFO.model_copy(update={"task_groups": groups})

    found = known(target_with_new_tasks(new_tasks_study(), info=info).new_tasks)

    assert {each.title: each.tasks for each in found.sets} == {
        "new tasks of known kinds (shapes)": ("room_1", "town_1"),
        "new tasks of known kinds (styles)": ("room_2",),
        "new tasks of known kinds (others)": ("town_2",),
        "new tasks of kinds that every source had": ("room_1", "room_2"),
        "new tasks of new kinds": NEW,
    }


def test_a_place_knows_its_rows_its_source_and_the_controls_of_the_same_source(found: NewTasks) -> None:
    small, large, lora = (
        place_of(found, *each) for each in (("carried", 4, 1), ("carried", 4, 2), ("lora", 48, None))
    )

    assert [place.source_kinds for place in (small, large, lora)] == [{"room"}, {"room", "town"}, frozenset()]
    assert (lora.is_main, lora.is_control, small.is_main) == (False, False, True)
    assert [control.cell.variant.name for control in found.controls_of(small)] == ["mean_latent-of1"]
    assert (small.rows, lora.rows, place_of(found, "mean_latent", 16, 1).rows) == (4, 48, None)


def test_scores_are_of_the_sets_own_tasks_and_lift_is_against_the_lora_there(found: NewTasks) -> None:
    of_known, _, of_new = found.sets
    place = place_of(found, "carried", 16, 2)
    on_known, on_new = of_known.scores[place.cell], of_new.scores[place.cell]

    assert on_known.summary.acc.known == pytest.approx(0.8, abs=0.08)
    assert on_new.summary.acc.known == pytest.approx(0.4, abs=0.12)
    assert on_known.summary.lift.value == pytest.approx((0.8 - 0.2) / (0.9 - 0.2), abs=0.1)
    for score in (on_known, on_new):
        low, high = limits(score.accuracy)
        assert low < score.summary.acc.known < high


def controls_study() -> tuple[StudyBuilder, StudyInfo]:
    """The study with latents of other tasks and of the nearest ones, carried."""
    builder, rates = new_tasks_study(), (0.5,)
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
        builder.add(method, seed=0, size=size, rates=rates, label=label)
    labels = {line["label"] for line in builder.rows if str(line["label"]).endswith("of2")}
    latents_of = {
        "carried-of2": "taught-of2",
        "mismatched_latent-of2": "taught-of2",
        "mismatched-described-of2": "described-of2",
        "carried-described-of2": "described-of2",
        "carried-nearest-of2": "nearest_latent-of2",
    }
    sources = {**INFO.source_tasks, **dict.fromkeys(labels, SOURCES["of2"])}
    return builder, INFO.model_copy(update={"source_tasks": sources, "latents_of": latents_of})


@pytest.fixture(scope="module")
def controlled() -> NewTasks:
    builder, info = controls_study()
    return known(target_with_new_tasks(builder, info=info).new_tasks)


def family_of(found: NewTasks, family: str, rows: int | None) -> Place:
    (place,) = (
        each for each in found.places
        if (each.family, each.rows, each.num_tasks) == (family, rows, 2)
    )  # fmt: skip
    return place


def test_what_lends_latents_of_other_tasks_is_a_control(controlled: NewTasks) -> None:
    controls = {place.family for place in controlled.places if place.is_control}

    assert controls == {
        "mean_latent", "mismatched_latent", "mismatched-described", "carried-nearest", "nearest_latent",
    }  # fmt: skip


def test_a_control_has_as_many_rows_where_it_can_and_latents_taught_in_the_same_way(
    controlled: NewTasks,
) -> None:
    def controls(family: str, rows: int) -> set[tuple[str, int | None]]:
        place = family_of(controlled, family, rows)
        return {(each.family, each.rows) for each in controlled.controls_of(place)}

    always = {("mean_latent", None), ("carried-nearest", 16), ("nearest_latent", 16)}
    assert controls("carried", 4) == {*always, ("mismatched_latent", 4)}
    assert controls("carried", 16) == {*always, ("mismatched_latent", 16)}
    assert controls("carried-described", 0) == {*always, ("mismatched-described", 0)}


def test_rivals_are_also_loras_and_earlier_methods_with_as_many_rows(controlled: NewTasks) -> None:
    plain, other = (family_of(controlled, family, 4) for family in ("carried", "carried-other"))

    def more(place: Place) -> set[tuple[str, int | None]]:
        rivals = set(controlled.rivals_of(place)) - set(controlled.controls_of(place))
        return {(each.family, each.rows) for each in rivals}

    assert more(plain) == {("lora", 4), ("taught", 4)}
    assert more(other) == {("lora", 4), ("taught", 4), ("carried", 4)}


def test_a_lead_is_the_paired_difference(found: NewTasks) -> None:
    on_known = found.sets[0]
    first, second = place_of(found, "carried", 16, 2), place_of(found, "mean_latent", 16, 2)

    lead = known(on_known.lead(first, second))

    ahead = (on_known.scores[each.cell].summary.acc.known for each in (first, second))
    assert lead.value == pytest.approx(next(ahead) - next(ahead))
    assert lead.excludes_zero


def test_half_of_the_lift_is_reached_from_the_smallest_source_after_which_none_falls_below(
    found: NewTasks,
) -> None:
    of_known, _, of_new = found.sets
    on_known, on_new = (known(found.half_way(each, "carried")) for each in (of_known, of_new))
    first = known(on_known.first)

    assert (first.num_tasks, first.rows) == (1, 16)
    assert on_new.first is None
    assert on_new.best.num_tasks == 2
    assert on_new.lift == pytest.approx(2 / 7, abs=0.15)
    assert found.half_way(of_known, "mean_latent") is None


def test_a_methods_name_is_enough_where_it_has_one_family(found: NewTasks) -> None:
    assert {found.name(place) for place in found.places} == {
        "carried latents", "port with the mean latent", "per-task LoRA", "frozen base",
    }  # fmt: skip


def test_two_families_of_a_method_keep_their_labels_and_their_sources_apart() -> None:
    builder = new_tasks_study()
    for variant in ("of1", "of2"):
        builder.add("carried", seed=0, size=0, rates=(0.5,), label=f"carried-described-{variant}")
    labels = {f"carried-described-{variant}": tasks for variant, tasks in SOURCES.items()}
    info = INFO.model_copy(update={"source_tasks": {**INFO.source_tasks, **labels}})

    found = known(target_with_new_tasks(builder, info=info).new_tasks)

    names = {found.name(place) for place in found.places if place.cell.method == "carried"}
    assert names == {"carried latents (carried)", "carried latents (carried-described)"}


def test_a_family_is_a_label_without_what_its_source_has_in_common() -> None:
    of_35, of_5 = ("a", "b"), ("a",)
    labels = {"source-of-35": of_35, "carried-x-of-35": of_35, "source-of-5": of_5, "carried-x-of-5": of_5}

    assert find_families(labels) == {
        "source-of-35": "source",
        "carried-x-of-35": "carried-x",
        "source-of-5": "source",
        "carried-x-of-5": "carried-x",
    }
    assert find_families({"carried-best": of_5}) == {"carried-best": "carried-best"}


def test_tasks_without_kinds_are_one_set_and_without_predictions_there_are_no_intervals() -> None:
    found = known(target_with_new_tasks(new_tasks_study(), kinds={}, with_predictions=False).new_tasks)

    assert [(each.title, len(each.tasks)) for each in found.sets] == [("new tasks", 6)]
    score = found.sets[0].scores[place_of(found, "carried", 4, 2).cell]
    assert (score.accuracy, score.lift) == (None, None)
    assert target_of_study(few_rows_study(port=0.7, shared=0.3), with_predictions=False).new_tasks is None
