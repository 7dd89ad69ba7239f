"""Inside a worker: the packs of one lane, one after another. No Ray."""
