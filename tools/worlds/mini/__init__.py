"""Embedded bases and tasks: a small made-up world, so that everything runs on a laptop in minutes."""
