"""How far ports are ahead of other methods with as many rows."""

import pytest

from analysis.stats.aggregate import compare
from analysis.stats.bootstrap import ACCURACY, bootstrap_over_tasks, choose_runs
from analysis.stats.epoch_selection import KEPT
from analysis.stats.leads import Lead, find_leads
from analysis.stats.result_table import gather_runs
from tests.support.result_tables import StudyBuilder


def leads_of(builder: StudyBuilder) -> dict[tuple[str, str, int], Lead]:
    """By port, other method and size."""
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big", KEPT)
    chosen = choose_runs(study, [each.cell for each in comparison.summaries], KEPT)
    answers = chosen.answers(builder.predictions_table())
    bootstrap = bootstrap_over_tasks(chosen, answers, ACCURACY, num_draws=500)
    leads = find_leads(comparison, bootstrap, {})
    return {(lead.port.variant.name, lead.against.variant.name, lead.port.size or 0): lead for lead in leads}


@pytest.fixture(scope="module")
def leads() -> dict[tuple[str, str, int], Lead]:
    builder = StudyBuilder(num_examples=120)
    builder.add("base", rates=(0.2,))
    for seed in (0, 1):
        for size, port, lora in ((4, 0.8, 0.4), (16, 0.8, 0.8), (48, 0.5, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("portal", seed=seed, size=size, rates=(port - 0.1,), label="half")
            builder.add("lora", seed=seed, size=size, rates=(lora,))
    builder.add("hypernet", seed=1, size=4, rates=(0.4,))
    builder.add("hypernet", seed=7, size=16, rates=(0.4,))
    return leads_of(builder)


def test_a_lead_is_the_difference_of_accuracies_with_an_interval(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    for size, low, high in ((4, 0.3, 0.5), (48, -0.5, -0.3)):
        difference = leads["portal", "lora", size].difference
        assert difference.value is not None
        assert low < difference.value < high
        assert difference.excludes_zero
    assert not leads["portal", "lora", 16].difference.excludes_zero


def test_methods_are_compared_where_they_share_size_and_seeds(
    leads: dict[tuple[str, str, int], Lead],
) -> None:
    assert leads["portal", "lora", 4].num_seeds == 2
    assert leads["portal", "hypernet", 4].num_seeds == 1
    assert ("portal", "hypernet", 16) not in leads
    assert not any(against in ("base", "portal") and port == against for port, against, _ in leads)


def test_two_ports_are_compared_once(leads: dict[tuple[str, str, int], Lead]) -> None:
    pairs = {frozenset((port, against)) for port, against, size in leads if size == 4}

    assert len(pairs) == len([1 for *_, size in leads if size == 4])
    assert frozenset(("portal", "half")) in pairs


def test_without_draws_nothing_is_compared() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))

    assert find_leads(compare(gather_runs(builder.results_table()), "big", KEPT), None, {}) == ()
