"""Log-likelihoods of choices, and the metrics made of them."""
