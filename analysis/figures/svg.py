"""A figure as SVG inside a page: it follows the page's colours, has a text alternative, and shows values."""

import io
import re
from html import escape

import matplotlib

from analysis.figures.figure import Drawing
from analysis.figures.style import DARK_VALUES, RC


def to_inline_svg(drawing: Drawing) -> str:
    """An `<svg>` element: ids unique to the drawing, palette colours as CSS variables, titled points."""
    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    for key, tip in drawing.tips.items():
        titled = f'<g id="{key}" class="tip"><title>{escape(tip)}</title>'
        text = text.replace(f'<g id="{key}">', titled)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{drawing.name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{drawing.name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{drawing.name}-\1)", text)
    for colour in DARK_VALUES:
        text = text.replace(colour, f"var({colour_variable(colour)})")
    return re.sub(r"<svg [^>]*>", lambda tag: _head(tag.group(), drawing), text, count=1).strip()


def colour_variable(colour: str) -> str:
    """The CSS variable that holds a palette colour."""
    return f"--ink-{colour.removeprefix('#')}"


def colour_rules(*, dark: bool) -> str:
    """CSS declarations of all palette variables."""
    values = (f"{colour_variable(light)}:{night if dark else light}" for light, night in DARK_VALUES.items())
    return ";".join(values)


def _head(tag: str, drawing: Drawing) -> str:
    view = re.search(r'viewBox="[^"]+"', tag)
    assert view is not None, "matplotlib writes a viewBox"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view.group()} '
        f'role="img" aria-label="{escape(drawing.alt)}">'
    )
