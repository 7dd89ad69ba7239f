"""A frozen base model: name it, find it, verify it, load it, and where it can be adapted."""
