"""What this version does equals the files beside this one, which `python -m tests.support.goldens` writes.

Keys of runs, hashes of examples, exit codes and table schemas never change. Help, plans and the schema of
study files change where a change means them to.
"""

import pytest

from tests.support.goldens import FOLDER, PLANS, SECTIONS, WHOLE, plan_of, sections
from tools.durations import SKIPS, Case, table, unknown_skips

KEPT = {file: sections(FOLDER / file) for file in SECTIONS}


@pytest.mark.parametrize("file", SECTIONS)
def test_every_name_has_a_part(file: str) -> None:
    _, names = SECTIONS[file]

    assert set(names()) == set(KEPT[file])


@pytest.mark.parametrize(("file", "name"), [(file, name) for file, kept in KEPT.items() for name in kept])
def test_each_part_is_as_it_is_kept(file: str, name: str) -> None:
    text_of, _ = SECTIONS[file]

    assert text_of(name) == KEPT[file][name]


@pytest.mark.parametrize("file", WHOLE)
def test_the_whole_is_as_it_is_kept(file: str) -> None:
    assert WHOLE[file]() == (FOLDER / file).read_text()


@pytest.mark.parametrize(
    "study", [pytest.param(each, marks=pytest.mark.slow) if each == "paper" else each for each in PLANS]
)
def test_a_plan_is_as_it_is_kept(study: str) -> None:
    assert plan_of(study) == (FOLDER / f"plan_{study}.json").read_text()


def test_a_skip_that_is_not_kept_is_found() -> None:
    cases = [Case("tests.test_x", f"test_{n}", 1.0, reason) for n, reason in enumerate(("a", "b", "b", None))]

    assert unknown_skips(cases, "1 a\n2 b\n3 c\n") == []
    assert unknown_skips(cases, "1 b\n") == [
        "1 tests were skipped, 0 may be: a",
        "2 tests were skipped, 1 may be: b",
    ]
    assert table(cases)[-1] == "| all | 4 | 4 |"
    assert unknown_skips([], SKIPS.read_text()) == []
