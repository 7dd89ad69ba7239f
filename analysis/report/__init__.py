"""Sentences and pages."""
