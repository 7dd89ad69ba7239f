"""What people who do not look want to know of a launch, told once each, while nothing waits for it."""
