"""A cache of the tests' own: plans would read what gpu-check has measured on this machine."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
