"""Answers that a base writes token by token, for rows of many adapters in one batch."""
