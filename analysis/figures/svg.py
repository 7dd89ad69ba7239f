"""A figure as SVG inside a page: it follows the page's colours, has a text alternative, and shows values."""

import io
import re
from collections.abc import Container
from xml.etree import ElementTree

import matplotlib

from analysis.figures.figure import Drawing
from analysis.figures.style import DARK_VALUES, RC

_SVG = "http://www.w3.org/2000/svg"
_FONT = "font-family: 'DejaVu Sans', sans-serif; "
_LONG_NUMBER = re.compile(r"-?[0-9]+\.[0-9]{3,}")
_AROUND_COMMAND = re.compile(r" ?([A-Za-z]) ?")
_REFERENCE = re.compile(r'href="#([^"]+)"|url\(#([^)]+)\)')
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def to_inline_svg(drawing: Drawing) -> str:
    """An `<svg>` element: ids unique to the drawing, palette colours as CSS variables, titled points.

    It is smaller than the file for publication: no names that nothing refers to, coordinates to a hundredth
    of a point, the font once.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    named = {name for pair in _REFERENCE.findall(buffer.getvalue()) for name in pair if name}
    _tidy(root, named, drawing)
    root.text = None
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": drawing.alt,
        "style": _FONT.rstrip("; "),
    }
    text = ElementTree.tostring(root, encoding="unicode")
    for colour in DARK_VALUES:
        text = text.replace(colour, f"var({colour_variable(colour)})")
    return text


def _tidy(node: ElementTree.Element, named: Container[str], drawing: Drawing) -> None:
    """Name, title and shorten what is below the node; groups that say nothing give way to their content."""
    children = []
    for child in node:
        _tidy(child, named, drawing)
        name = child.attrib.pop("id", None)
        if name in drawing.tips:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = drawing.tips[name]
            child.insert(0, title)
            child.attrib = {"class": "tip", **child.attrib}
        if name is not None and (name in drawing.tips or name in named):
            child.attrib = {"id": f"{drawing.name}-{name}", **child.attrib}
        for key, value in child.attrib.items():
            child.attrib[key] = _shortened(key, value, drawing)
        if child.attrib.get("transform", "").startswith("rotate(-0 "):
            del child.attrib["transform"]
        child.tail = None
        if child.text is not None and not child.text.strip():
            child.text = None
        children += list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]
    node[:] = children


def _shortened(key: str, value: str, drawing: Drawing) -> str:
    """The attribute with references to the drawing's own names, short numbers, and the font left out."""
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{drawing.name}-\1)", value)
    if key.endswith("href"):
        return re.sub(r"^#", f"#{drawing.name}-", value)
    if key == "style":
        return value.replace(_FONT, "").replace("; ", ";").replace(": ", ":")
    if key in ("d", "transform", "points", "x", "y", "width", "height"):
        short = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
        short = " ".join(short.split())
        return _AROUND_COMMAND.sub(r"\1", short) if key == "d" else short
    return value


def colour_variable(colour: str) -> str:
    """The CSS variable that holds a palette colour."""
    return f"--ink-{colour.removeprefix('#')}"


def colour_rules(*, dark: bool) -> str:
    """CSS declarations of all palette variables."""
    values = (f"{colour_variable(light)}:{night if dark else light}" for light, night in DARK_VALUES.items())
    return ";".join(values)
