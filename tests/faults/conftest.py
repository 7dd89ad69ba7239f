"""The studies of tests/sweeps serve here too."""

from tests.sweeps.conftest import _one_thread, one_core, study_path, tiny_study, unbroken

__all__ = ["_one_thread", "one_core", "study_path", "tiny_study", "unbroken"]
