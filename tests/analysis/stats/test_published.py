"""Published numbers are found by a base's short name and by its hub id."""

import pytest

from analysis.stats.published import CARDS, PUBLISHED, published_for


@pytest.mark.parametrize(
    ("hub_id", "name"),
    [
        ("Qwen/Qwen3-4B", "qwen3-4b"),
        ("google/gemma-3-4b-pt", "gemma-3-4b"),
        ("google/gemma-4-E2B", "gemma-4-e2b"),
        ("mistralai/Mistral-7B-v0.3", "mistral-7b"),
    ],
)
def test_a_hub_id_has_the_numbers_of_its_short_name(hub_id: str, name: str) -> None:
    published = published_for(hub_id)

    assert published is not None
    assert published is published_for(name)


def test_every_base_is_found_by_its_name() -> None:
    assert all(published_for(name) is found for name, found in (PUBLISHED | CARDS).items())


@pytest.mark.parametrize(
    "base",
    [
        "/models/qwen3-4b",
        "./qwen3-4b",
        "models/qwen3-4b",
        "someone/Qwen3-4B",
        "mini-qwen3-m",
        "Qwen/Qwen3-0.6B",
    ],
)
def test_a_folder_and_another_base_have_none(base: str) -> None:
    assert published_for(base) is None
