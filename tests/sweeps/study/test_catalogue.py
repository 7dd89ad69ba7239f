"""Shipped studies and searches: found by name, well formed, and named as their files are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.search.run_search import SearchPlan
from sweeps.study.catalogue import find_search, find_study, shipped_searches, shipped_studies
from sweeps.study.context import StudyContext
from sweeps.study.expand import Study, expand, read_study


@pytest.mark.parametrize("name", shipped_searches())
def test_a_shipped_search_is_well_formed(name: str) -> None:
    assert SearchPlan(find_search(name)).name == name


@pytest.mark.parametrize("study", ["demo", "few-rows", "words-cpu", "words-back"])
def test_searches_use_no_task_and_no_seed_of_the_studies_that_they_serve(study: str) -> None:
    reported = _on_embedded_bases(study)
    plans = [SearchPlan(find_search(name)).trial({}) for name in shipped_searches()]
    served = [searched for searched in plans if searched.suite == reported.settings.suite]

    assert len(served) >= 4
    for searched in served:
        assert not {*reported.suite.choose(searched.tasks)} & {*reported.tasks}
        assert not {*searched.seeds} & {*reported.settings.seeds}


@pytest.mark.parametrize("name", ["demo", "few-rows", "headroom-village", "words-cpu", "words-back"])
def test_a_curve_of_few_rows_takes_as_many_steps_at_every_size(name: str) -> None:
    study = _on_embedded_bases(name)
    for label in ("lora", "portal", "half"):
        trains = {run.train for run in study.runs if study.labels[run.key] == label}
        assert len(trains) == (label in study.settings.methods)


def _on_embedded_bases(name: str) -> Study:
    """The shipped study, embedded bases in the place of installed ones: they set no task, seed or step."""
    settings = read_study(find_study(name))
    stand_ins = {"smollm2-135m": "mini-qwen3-s", "gemma-3-270m": "mini-gemma3"}

    def embedded(bases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(stand_ins.get(base, base) for base in bases)

    settings = settings.model_copy(
        update={"sources": embedded(settings.sources), "targets": embedded(settings.targets)}
    )
    return expand(settings, StudyContext.open(settings))


@pytest.mark.parametrize(("find", "names"), [(find_study, shipped_studies), (find_search, shipped_searches)])
def test_a_path_stands_for_itself_and_a_missing_one_or_a_slip_in_a_name_is_told(
    find: Callable[[str], Path], names: Callable[[], tuple[str, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(ValueError, match=r"mine\.yaml: no such (study|search) file"):
        find(str(path))
    path.write_text("name: mine\n")
    assert find(str(path)) == path
    with pytest.raises(ValueError, match=f"did you mean '{names()[0]}'"):
        find(names()[0] + "x")
