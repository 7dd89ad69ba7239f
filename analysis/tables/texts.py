"""Long texts in a table's cell: one line, cut where a reader still knows what it was."""

MOST_CHARS = 240
"""Characters of a text that are shown."""


def shown_start(text: str) -> str:
    """The first characters, in one line."""
    line = _one_line(text)
    return line if len(line) <= MOST_CHARS else f"{line[:MOST_CHARS]} ..."


def shown_end(text: str) -> str:
    """The last characters, in one line."""
    line = _one_line(text)
    return line if len(line) <= MOST_CHARS else f"... {line[-MOST_CHARS:]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
