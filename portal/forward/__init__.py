"""One forward through an adapted base: hooks, masks, micro-batches, losses.

The only package that touches a base's modules.
"""
