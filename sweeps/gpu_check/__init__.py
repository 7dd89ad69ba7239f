"""What a machine must show before a study runs on it: numbers, packs, teams, resume, memory, pace."""
