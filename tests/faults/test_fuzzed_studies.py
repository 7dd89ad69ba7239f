"""Study files with every kind of mistake: one line that says what is wrong, never a traceback."""

import random
from pathlib import Path

import pytest

from sweeps.study.expand import load_study
from tests.support.counts import times
from tests.support.studies import TINY

pytestmark = pytest.mark.slow

FILES = times(150, nightly=2000)
WORDS = (
    "null", "true", "-1", "0", "1e999", ".nan", "[]", "{}", "''", "..", "../../x", "/", "q", "lora", "[q, q]",
    "!!python/object/apply:os.system [true]", "&a [*a]", "99999999999999999999", "2026-01-01", "\u2028", "~",
)  # fmt: skip
"""In place of a value."""


def damaged(draw: random.Random) -> bytes:
    """The tiny study with one to three mistakes in it."""
    lines = (TINY + "variants: {a: {methods: [lora]}}\nexclude: [{method: base}]\n").strip().splitlines()
    for _ in range(draw.randint(1, 3)):
        index = draw.randrange(len(lines))
        line = lines[index]
        match draw.randrange(7):
            case 0:
                del lines[index]
            case 1:
                lines.insert(index, line)
            case 2:
                key, _, _ = line.partition(":")
                lines[index] = f"{key}: {draw.choice(WORDS)}"
            case 3:
                place = draw.randrange(len(line) + 1)
                lines[index] = (
                    line[:place] + chr(draw.choice((0, 9, 34, 58, 91, 123, 233, 8232, 65533))) + line[place:]
                )
            case 4:
                lines[index] = " " * draw.randint(0, 5) + line.strip()
            case 5:
                lines[index] = line.replace("size", draw.choice(("sise", "SIZE", "rank", "")))
            case _:
                lines[index] = line[: draw.randrange(len(line) + 1)]
        if not lines:
            break
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draw.random() < 0.1:
        data = data[: draw.randrange(len(data) + 1)] + bytes([draw.randrange(256)]) + data[-5:]
    return data


def test_fuzzed_study_files_give_one_line_errors(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "study.yaml"
    refused = 0
    for _ in range(FILES):
        data = damaged(draw)
        path.write_bytes(data)
        try:
            load_study(path)
        except ValueError as error:
            refused += 1
            message = str(error)
            assert message, data
            assert len(message.splitlines()) == 1, data
            assert len(message) < 2000, data
    assert refused > FILES / 2
