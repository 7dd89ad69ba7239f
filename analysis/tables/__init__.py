"""Values in named columns."""
