"""`content_key`: the name of a thing that is known by its content."""

import hashlib


def content_key(text: str) -> str:
    """16 hex digits of the text's sha256: a name that no other content has, and that leads nowhere else."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
