"""The two real pretrained bases of `make real-cpu` and real rows; without either these tests are skipped."""

from pathlib import Path

import pytest

from portal.bases.registry import KNOWN
from tests.support.shared import BASES, ROWS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    absent = [name for name in BASES if KNOWN[name].availability() != "installed"]
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)
            if absent:
                item.add_marker(
                    pytest.mark.skip(reason=f"{', '.join(absent)}: `make real-cpu` installs them")
                )
            elif not ROWS.is_dir():
                item.add_marker(pytest.mark.skip(reason="no real rows beside the checkout (../shared/data)"))
