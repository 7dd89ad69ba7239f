"""Known sizes of the public benchmarks of `portal14`, for plans where their rows are not at hand.

Numbers of rows are those that the builders make of the publishers' splits. Lengths were measured on rows of
all fourteen tasks, of some on a part of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from portal.tasks.example import SPLITS, Example


@dataclass(frozen=True)
class TaskSizes:
    """Rows of train, validation and test; characters of prompts at five quantiles (.1 to .9), and of a
    choice, its space included, in the mean; choices of a row, the rounded mean.
    """

    rows: tuple[int, int, int]
    prompt_chars: tuple[int, int, int, int, int]
    choice_chars: int
    choices: int


SIZES = {
    "truthfulqa": TaskSizes((550, 62, 205), (49, 60, 68, 81, 111), 48, 5),
    "rte": TaskSizes((2241, 249, 277), (177, 234, 284, 370, 662), 6, 2),
    "cb": TaskSizes((225, 25, 56), (196, 268, 340, 420, 600), 6, 3),
    "copa": TaskSizes((360, 40, 100), (29, 36, 42, 48, 57), 29, 2),
    "wic": TaskSizes((4928, 500, 638), (142, 159, 173, 188, 216), 4, 2),
    "wsc": TaskSizes((499, 55, 104), (133, 152, 168, 193, 282), 4, 2),
    "boolq": TaskSizes((8927, 500, 3270), (314, 459, 586, 741, 1032), 4, 2),
    "arc_easy": TaskSizes((2025, 226, 570), (65, 85, 108, 148, 224), 24, 4),
    "arc_challenge": TaskSizes((1007, 112, 299), (70, 93, 125, 172, 242), 30, 4),
    "hellaswag": TaskSizes((39405, 500, 10042), (70, 103, 128, 157, 216), 72, 4),
    "openbookqa": TaskSizes((4461, 496, 500), (44, 57, 68, 83, 112), 16, 4),
    "winogrande": TaskSizes((39898, 500, 1267), (53, 64, 71, 81, 98), 31, 2),
    "commonsense_qa": TaskSizes((9241, 500, 1221), (56, 69, 82, 97, 125), 10, 5),
    "sciq": TaskSizes((11179, 500, 1000), (61, 75, 88, 105, 137), 11, 4),
}


class SizedRows(Sequence[Example]):
    """As many examples as a split has, of its lengths and without its words."""

    sha256 = "rows that are not at hand"

    def __init__(self, task: str, split: str) -> None:
        self._task, self._split, self._sizes = task, split, SIZES[task]

    def __len__(self) -> int:
        return self._sizes.rows[SPLITS.index(self._split)]

    def __iter__(self) -> Iterator[Example]:
        return map(self._make, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        places = range(len(self))[place]
        return self._make(places) if isinstance(places, int) else [self._make(each) for each in places]

    def _make(self, index: int) -> Example:
        sizes, name = self._sizes, f"{self._split}-{index:06d}"
        length = sizes.prompt_chars[index % len(sizes.prompt_chars)]
        choices = tuple(f" {number}".ljust(sizes.choice_chars, "x") for number in range(sizes.choices))
        return Example(self._task, name, "x" * length, choices, index % sizes.choices, name)


def sized_rows(task: str) -> Mapping[str, SizedRows]:
    """By split as many rows as the task has."""
    return {split: SizedRows(task, split) for split in SPLITS}
