"""From a suite's examples to the token rows of step k."""
