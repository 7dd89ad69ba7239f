"""GGUF files as bases: a file is converted once into a model folder, in a cache that is checked by digest."""
