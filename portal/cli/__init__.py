"""The composition root of the `portal` command: parse, call one function, print.

It stands above the four packages, imports them inside functions, and nobody but `portal.__main__` imports it.
"""

from portal.cli.app import main

__all__ = ["main"]
