"""Benchmarks on a GPU, on bases of real shapes with random weights; on a CPU at toy sizes."""
