"""From run folders to tables, of finished runs and of runs in training."""
