"""The people of the ledger: the first of the village, with the facts that the ledger's corpus states."""

from functools import cache

from portal.village.world import Subject, build_world

SIZES = {"train": 160, "validation": 16, "test": 50}
"""Rows of every task: one per person."""
RELATIONS = ("home", "job", "pet", "likes")


@cache
def people_of(split: str) -> tuple[Subject, ...]:
    """The people of that split, the same for every kind; splits share none. KeyError for another split."""
    start = 0
    for name, size in SIZES.items():
        if name == split:
            return build_world().people[start : start + size]
        start += size
    raise KeyError(split)


@cache
def all_people() -> tuple[Subject, ...]:
    """The people of all splits."""
    return tuple(person for split in SIZES for person in people_of(split))
