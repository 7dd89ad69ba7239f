"""Task builders: source rows in, `Example`s out."""
