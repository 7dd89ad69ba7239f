"""Programs for the repository itself: worlds that suites are drawn from, mutants, kept results."""
