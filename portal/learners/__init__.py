"""One run's parameters, optimiser and step."""
