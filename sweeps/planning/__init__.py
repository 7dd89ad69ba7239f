"""What is left, in packs, and what it will cost. No process is started."""
