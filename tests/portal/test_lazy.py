"""During imports no garbage is looked for, and afterwards it is again."""

import gc

import pytest

from portal.lazy import no_collection


def test_garbage_is_looked_for_again_afterwards_also_after_an_error_unless_it_was_off_before() -> None:
    with no_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), no_collection():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
