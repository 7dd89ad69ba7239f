"""The known sizes of the public benchmarks are those that the builders find in their rows."""

from statistics import mean, quantiles

import pytest

from portal.data.suite import outline_suite
from portal.data.suites import load_suite
from portal.tasks.example import SPLITS
from portal.tasks.portal14 import BUILDERS
from portal.tasks.portal14_sizes import SIZES, SizedRows
from tests.support.shared import ROWS, needs_rows

WHOLE = (
    "truthfulqa",
    "rte",
    "cb",
    "copa",
    "wic",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
    "commonsense_qa",
)
"""Tasks of whose rows all are there that are read."""


def test_every_task_has_sizes() -> None:
    assert SIZES.keys() == BUILDERS.keys()
    assert all(min(sizes.rows) > 0 for sizes in SIZES.values())


def test_rows_are_as_many_and_as_long_as_stated() -> None:
    rows = SizedRows("copa", "train")

    assert len(rows) == len(list(rows)) == 360
    assert len({example.id for example in rows}) == 360
    assert [len(example.prompt) for example in rows[:5]] == list(SIZES["copa"].prompt_chars)
    assert {len(choice) for example in rows[-3:] for choice in example.choices} == {29}
    assert rows[-1].id == rows[359].id


def test_an_outline_has_the_tasks_of_its_suite_and_says_what_it_is() -> None:
    suite = load_suite("portal14")
    outlined = outline_suite(suite)

    assert outlined.is_outline
    assert not suite.is_outline
    assert len(outlined.examples("boolq", "test")) == 3270
    with pytest.raises(ValueError, match="suite 'mini': the sizes of its tasks are not known here"):
        outline_suite(load_suite("mini"))


@pytest.mark.slow
@needs_rows
@pytest.mark.parametrize("task", BUILDERS)
def test_sizes_are_those_of_real_rows(task: str) -> None:
    suite, sizes = load_suite("portal14", data=str(ROWS)), SIZES[task]
    examples = {split: suite.examples(task, split) for split in SPLITS}
    every = [example for own in examples.values() for example in own]

    if task in WHOLE:
        assert tuple(len(examples[split]) for split in SPLITS) == sizes.rows
    tenths = quantiles([len(example.prompt) for example in every], n=10)
    assert sizes.prompt_chars == tuple(round(tenths[place]) for place in (0, 2, 4, 6, 8))
    assert sizes.choice_chars == pytest.approx(mean(len(c) for e in every for c in e.choices), abs=0.6)
    assert sizes.choices == pytest.approx(mean(len(example.choices) for example in every), abs=0.5)
