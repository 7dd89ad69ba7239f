"""The `portal` command: the part of portal that may import the other packages, inside functions."""

from portal.cli.app import main

__all__ = ["main"]
