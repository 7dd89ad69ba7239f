from pathlib import Path

import pytest

from portal.results import RESULTS, read_table
from tools.kept_results import PAGES, WHOLE, document_of, kept_folders, tables_of

MOST_BYTES = 10_000_000


def name_of(kept: Path) -> str:
    return str(kept.relative_to(PAGES))


def test_kept_files_are_of_every_seed_or_of_the_first_and_stay_small() -> None:
    for kept in kept_folders():
        seeds = {*read_table(kept / "results" / "results.parquet", RESULTS)["seed"].to_pylist()} - {None}
        assert len(seeds) > 1 if kept.name == WHOLE else seeds == {0}, kept
    assert len(kept_folders()) >= 4
    files = [path for kept in kept_folders() for path in (kept / "results").iterdir()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("kept", kept_folders(), ids=name_of)
def test_the_tables_of_a_page_are_those_of_its_kept_files(kept: Path) -> None:
    assert document_of(kept).to_markdown() == tables_of(kept).read_text(encoding="utf-8"), "make results"
