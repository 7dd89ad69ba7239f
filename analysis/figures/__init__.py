"""Figures with captions, text alternatives and the values that a pointer shows."""
