"""New tasks by the number of tasks that their source had."""

import pytest

from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, find_families
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.new_tasks import INFO, KNOWN, NEW, SOURCES, new_tasks_study, target_with_new_tasks


@pytest.fixture(scope="module")
def target() -> Target:
    return target_with_new_tasks(new_tasks_study())


@pytest.fixture(scope="module")
def found(target: Target) -> NewTasks:
    assert target.new_tasks is not None
    return target.new_tasks


def place_of(found: NewTasks, method: str, size: int, tasks: int | None) -> Place:
    spots = {(each.cell.method, each.cell.size, each.num_tasks): each for each in found.places}
    return spots[method, size, tasks]


def test_tasks_are_divided_by_whether_a_source_had_their_kind(found: NewTasks) -> None:
    assert [(each.title, each.tasks) for each in found.sets] == [
        ("new tasks of known kinds", KNOWN),
        ("new tasks of new kinds", NEW),
    ]


def test_a_place_knows_how_many_tasks_and_kinds_its_source_had(found: NewTasks) -> None:
    assert place_of(found, "carried", 4, 1).num_kinds == 1
    assert place_of(found, "carried", 4, 2).num_kinds == 2
    lora = place_of(found, "lora", 48, None)
    assert (lora.num_kinds, lora.is_main, lora.is_control) == (0, False, False)


def test_scores_are_of_the_sets_own_tasks_and_lift_is_against_the_lora_there(found: NewTasks) -> None:
    known, new = found.sets
    place = place_of(found, "carried", 16, 2)
    on_known, on_new = known.scores[place.cell], new.scores[place.cell]

    assert on_known.summary.acc.known == pytest.approx(0.8, abs=0.08)
    assert on_new.summary.acc.known == pytest.approx(0.4, abs=0.12)
    assert on_known.summary.lift.value == pytest.approx((0.8 - 0.2) / (0.9 - 0.2), abs=0.1)
    for score in (on_known, on_new):
        assert score.accuracy is not None
        assert score.accuracy.low is not None
        assert score.accuracy.high is not None
        assert score.accuracy.low < score.summary.acc.known < score.accuracy.high


def test_controls_are_those_of_the_same_source(found: NewTasks) -> None:
    place = place_of(found, "carried", 4, 1)

    assert place.is_main
    assert [control.cell.variant.name for control in found.controls_of(place)] == ["mean_latent-of1"]


def test_rows_are_those_of_a_new_task(found: NewTasks) -> None:
    assert place_of(found, "carried", 16, 1).rows == 16
    assert place_of(found, "lora", 48, None).rows == 48
    assert place_of(found, "mean_latent", 16, 1).rows is None


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

    found = target_with_new_tasks(builder, info=info).new_tasks

    assert found is not None
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


def test_tasks_without_kinds_are_one_set() -> None:
    found = target_with_new_tasks(new_tasks_study(), kinds={}).new_tasks

    assert found is not None
    assert [(each.title, len(each.tasks)) for each in found.sets] == [("new tasks", 6)]


def test_a_study_without_new_tasks_has_none() -> None:
    assert target_of_study(few_rows_study(port=0.7, shared=0.3)).new_tasks is None


def test_without_predictions_there_are_no_intervals() -> None:
    found = target_with_new_tasks(new_tasks_study(), with_predictions=False).new_tasks
    assert found is not None

    score = found.sets[0].scores[place_of(found, "carried", 4, 2).cell]

    assert (score.accuracy, score.lift) == (None, None)
