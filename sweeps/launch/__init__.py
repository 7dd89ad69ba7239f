"""The driver: executors, and the Ray below them."""
