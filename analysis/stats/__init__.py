"""Numbers only: no text, no figure."""
