"""PorTAL: learn a task once, carry it to every new base model by refitting a thin converter."""

__version__ = "0.1.0"
