"""PorTAL: learn a task once, carry it to every new base model by refitting a thin converter.

The names below are the public API of the method on one machine; docs/api.md shows them at work. They are
loaded when they are first used: importing `portal` loads neither torch nor Ray.
"""

import logging
from typing import TYPE_CHECKING

from portal.lazy import lazy_attributes

if TYPE_CHECKING:
    from portal.artifacts.artifact import Artifact
    from portal.artifacts.registry import AdapterMatrix, Registry, read_matrices
    from portal.bases.base import Base, load_base
    from portal.bases.registry import list_bases
    from portal.config import AdapterConfig, BaseRef, DataConfig, HypernetConfig, RunConfig
    from portal.data.sampling import tokenize
    from portal.data.suites import Suite, open_suite
    from portal.data.token_rows import TokenRow
    from portal.evaluate.loglikelihood import Scored, TaskMetrics, score_rows, summarise
    from portal.methods import MethodSpec, find_method, register
    from portal.tasks.example import Example
    from portal.train_config import TrainConfig

# Else it tells what it lacks when peft imports it, and each of its layers warns in each forward.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
__version__ = "0.2.0"
__all__ = [
    "AdapterConfig",
    "AdapterMatrix",
    "Artifact",
    "Base",
    "BaseRef",
    "DataConfig",
    "Example",
    "HypernetConfig",
    "MethodSpec",
    "Registry",
    "TokenRow",
    "RunConfig",
    "Scored",
    "Suite",
    "TaskMetrics",
    "TrainConfig",
    "find_method",
    "list_bases",
    "load_base",
    "open_suite",
    "read_matrices",
    "register",
    "score_rows",
    "summarise",
    "tokenize",
]
if not TYPE_CHECKING:  # else every misspelt name would pass a type checker
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "portal.artifacts.artifact": "Artifact",
            "portal.artifacts.registry": "AdapterMatrix Registry read_matrices",
            "portal.bases.base": "Base load_base",
            "portal.bases.registry": "list_bases",
            "portal.config": "AdapterConfig BaseRef DataConfig HypernetConfig RunConfig",
            "portal.data.sampling": "tokenize",
            "portal.data.suites": "Suite open_suite",
            "portal.data.token_rows": "TokenRow",
            "portal.evaluate.loglikelihood": "Scored TaskMetrics score_rows summarise",
            "portal.methods": "MethodSpec find_method register",
            "portal.tasks.example": "Example",
            "portal.train_config": "TrainConfig",
        },
    )
