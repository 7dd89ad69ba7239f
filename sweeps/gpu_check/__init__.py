"""What a machine must show before a study runs on it: rates, numbers, packs, resume, memory. No Ray."""
