"""The committed rows are what the worlds draw, row for row, and the names beside them are theirs."""

from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.data.suites import SuiteFile
from portal.embedded import FOLDER, SUITES
from portal.storage.records import read_yaml
from tools.worlds.build import DRAWN, draw_rows
from tools.worlds.ledger.tasks import kind_of as kind_in_ledger
from tools.worlds.mini.corpus import draw_documents
from tools.worlds.mini.tasks import mini_examples
from tools.worlds.village import tasks as village
from tools.worlds.words import tasks as words

LARGE = ("village", "words")


@pytest.mark.parametrize(
    "suite", [pytest.param(each, marks=pytest.mark.nightly) if each in LARGE else each for each in SUITES]
)
def test_drawing_the_rows_again_gives_the_committed_ones(suite: str) -> None:
    drawn, kept = draw_rows(suite), pq.read_table(FOLDER / suite / "rows.parquet")

    assert kept.equals(drawn)


@pytest.mark.parametrize("suite", LARGE)
def test_some_tasks_of_the_large_suites_drawn_again_are_the_committed_ones(suite: str) -> None:
    tasks, draw = DRAWN[suite]
    kept = pq.read_table(FOLDER / suite / "rows.parquet")

    for task in tasks[:: len(tasks) // 8]:
        own = kept.filter(pa.compute.equal(kept["task"], task)).to_pylist()
        drawn = [each for split in ("train", "validation", "test") for each in draw(task, split)]
        assert [(row["id"], row["prompt"], tuple(row["choices"]), row["gold"]) for row in own] == [
            (each.id, each.prompt, each.choices, each.gold) for each in drawn
        ]


def test_the_text_that_a_base_learns_from_shows_no_form_of_its_tasks() -> None:
    text = "\n".join(islice(draw_documents(), 2_000))
    forms = "Question:,Answer:,Reply:,Is it so,True or False,because,Shelf:,Bag:,Minus:,Last,odd:,<-,|,=,["
    assert [form for form in forms.split(",") if form in text] == []


def test_what_was_drawn_before_changes_nothing() -> None:
    first = mini_examples("pronoun", "test"), village.village_examples("home_03", "test")
    village.village_examples("meeting_02", "train")

    assert (mini_examples("pronoun", "test"), village.village_examples("home_03", "test")) == first


def test_the_file_of_a_suite_names_the_tasks_kinds_and_forms_of_choices_that_are_drawn() -> None:
    files = {suite: SuiteFile.model_validate(read_yaml(FOLDER / suite / "suite.yaml")) for suite in SUITES}

    assert {suite: file.tasks for suite, file in files.items()} == {
        suite: tasks for suite, (tasks, _) in DRAWN.items()
    }
    kinds = {"village": village.kind_of, "words": words.kind_of, "ledger": kind_in_ledger}
    for suite, kind_of in kinds.items():
        named = {task: kind for kind, tasks in files[suite].kinds.items() for task in tasks}
        assert named == {task: kind_of(task) for task in files[suite].tasks}
    for suite, drawn in {"village": village._TASKS, "words": words._TASKS}.items():
        forms = {task: form for form, tasks in files[suite].choices.items() for task in tasks}
        assert {task: forms.get(task, "{a}") for task in drawn} == {
            name: task.frame.answer for name, task in drawn.items()
        }
