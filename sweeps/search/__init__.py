"""Optuna over studies."""
