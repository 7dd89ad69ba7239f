"""Markers are words of their own, which no table has."""

from portal.words.frames import ANSWERS, SHAPES, markers
from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS
from portal.words.tasks import WORD_TASKS


def test_markers_differ_and_are_no_word_of_a_table() -> None:
    made = markers(len(WORD_TASKS))
    words = {
        word.lower()
        for relation in (*KNOWN_RELATIONS, *NEW_RELATIONS)
        for row in relation.table.rows
        for field in row.values()
        for value in field
        for word in value.split()
    }

    assert len(set(made)) == len(WORD_TASKS)
    assert not set(made) & words


def test_more_markers_begin_with_the_same_ones() -> None:
    assert markers(40)[:10] == markers(10)


def test_every_shape_has_subject_and_marker_and_no_word_and_every_answer_style_the_answer() -> None:
    for shape in SHAPES:
        assert "{s}" in shape
        assert "{m}" in shape
        assert not any(character.isalpha() for character in shape.replace("{s}", "").replace("{m}", ""))
    assert len(set(SHAPES)) == len(SHAPES)
    assert all(style.count("{a}") == 1 for style in ANSWERS)
