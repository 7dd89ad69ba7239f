"""`MethodSpec`: what every part of the project must know of a method, in one table.

Configs, study files, plans, learners, cards and analysis derive from it. The package imports its table, so
that no part of the project finds the registry empty.
"""

from portal.methods.spec import METHODS, MethodSpec, find_method, port_methods, register, stage_of_method
from portal.methods.table import (
    BASE,
    DESCRIBED,
    LIFT_REFERENCES,
    LORA,
    NEAREST_LATENT,
    PORTAL,
    SOURCE,
    TAUGHT,
)

__all__ = [
    "BASE", "DESCRIBED", "LIFT_REFERENCES", "LORA", "METHODS", "NEAREST_LATENT", "PORTAL", "SOURCE", "TAUGHT",
    "MethodSpec", "find_method", "port_methods", "register", "stage_of_method",
]  # fmt: skip
