"""A figure inside a page: what it says and shows is kept, what nothing needs is left out."""

import re
from xml.etree import ElementTree

import pytest

from analysis.figures.accuracy import draw_methods
from analysis.figures.figure import Drawing, to_inline_svg
from tests.support.result_tables import known, study_with_port, target_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawing() -> Drawing:
    return known(draw_methods(target_of(study_with_port(0.7).rows).comparison, "big"))


@pytest.fixture(scope="module")
def inline(drawing: Drawing) -> str:
    return to_inline_svg(drawing)


def test_every_point_has_its_title_and_the_figure_its_text_alternative(drawing: Drawing, inline: str) -> None:
    root = ElementTree.fromstring(inline)
    titles = [title.text for title in root.iter(f"{SVG}title")]

    assert sorted(map(str, titles)) == sorted(drawing.tips.values())
    assert root.attrib["aria-label"] == drawing.alt
    assert all(
        point.attrib["class"] == "tip" for point in root.iter() if point.find(f"{SVG}title") is not None
    )


def test_all_texts_of_the_file_for_publication_are_there_in_their_font(
    drawing: Drawing, inline: str, tmp_path
) -> None:
    drawing.save(tmp_path)
    whole = ElementTree.parse(tmp_path / f"{drawing.name}.svg")
    texts = ["".join(text.itertext()) for text in whole.iter(f"{SVG}text")]

    assert ["".join(text.itertext()) for text in ElementTree.fromstring(inline).iter(f"{SVG}text")] == texts
    assert inline.count("font-family") == 1
    assert len(inline) < 0.8 * (tmp_path / f"{drawing.name}.svg").stat().st_size


def test_names_are_the_drawings_own_and_somebody_refers_to_each(drawing: Drawing, inline: str) -> None:
    names = re.findall(r'\bid="([^"]+)"', inline)
    referred = {
        name for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', inline) for name in pair if name
    }
    tips = {f"{drawing.name}-{name}" for name in drawing.tips}

    assert len(names) == len({*names})
    assert all(name.startswith(f"{drawing.name}-") for name in names)
    assert referred <= {*names} == referred | tips


def test_coordinates_have_two_decimals_and_colours_follow_the_page(inline: str) -> None:
    assert re.findall(r'\s(?:d|x|y|transform)="[^"]*\.[0-9]{3}', inline) == []
    assert "var(--ink-" in inline
    assert re.findall(r"(?:fill|stroke):#(?:0072b2|1b1f24|6b7280)", inline) == []
