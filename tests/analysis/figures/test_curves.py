"""A chart of lines: every point within the axes, round ticks, names and values that a reader finds."""

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.curves import Line, LineChart

VALUES = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


def chart(*lines: Line) -> ElementTree.Element:
    svg = LineChart(lines, "steps", "loss <nats>", "a caption", 'from "a" to b').to_svg()
    return ElementTree.fromstring(svg)


def texts(svg: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in svg.iter("text")]


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=80))
def test_every_point_lies_within_the_axes(values: list[float]) -> None:
    svg = chart(Line("loss", [(step, value) for step, value in enumerate(values, start=1)]))

    (path,) = [node.get("d", "") for node in svg.iter("path") if node.get("stroke-width")]
    places = [tuple(map(float, pair.split())) for pair in re.split("[ML]", path) if pair]
    assert len(places) == len(values)
    assert all(56 <= x <= 428 and 26 <= y <= 200 for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)


def test_axes_have_round_numbers_around_the_values() -> None:
    svg = chart(Line("loss", [(1, 0.21), (30, 0.39)]))

    assert texts(svg) == ["0.2", "0.25", "0.3", "0.35", "0.4", "10", "20", "30", "steps", "loss <nats>"]
    assert svg.get("aria-label") == 'from "a" to b'


def test_several_lines_are_named_in_their_colours() -> None:
    svg = chart(Line("test rows", [(0, 1.0), (1, 2.0)]), Line("validation rows", [(0, 2.0), (1, 1.0)]))

    lines = [node.get("stroke") for node in svg.iter("path") if node.get("stroke-width")]
    names = {node.text: node.get("fill") for node in svg.iter("text")}
    assert [names["test rows"], names["validation rows"]] == lines
    assert len(set(lines)) == 2


def test_points_show_their_values_of_long_lines_some() -> None:
    for count, shown in ((60, 60), (61, 31), (255, 51)):
        svg = chart(Line("loss", [(step, step / 3) for step in range(count)]))
        tips = [node.findtext("title") for node in svg.iter("circle")]
        step = -(-count // 60)
        assert len(tips) == shown
        assert tips[1] == f"loss, {step}: {step / 3:.4g}"


def test_epochs_have_whole_numbers_and_values_that_hardly_differ_few_ticks() -> None:
    svg = chart(Line("loss", [(0, 0.5), (1, 0.5 + 1e-9), (2, 0.5)]))

    found = texts(svg)
    assert [text for text in found if text in ("0", "1", "2", "0.5", "1.5")].count("1") == 1
    assert "1.5" not in found
    assert len(found) < 12
