"""Exit codes of the `portal` command: libraries say what happened, only the command line makes codes."""

DONE = 0
MISTAKE = 2
"""The user's: a wrong option, an unknown name, a file that cannot be read. One line on stderr says which."""
FAILED = 3
"""Some runs have no result, a job or a search did not end well, memory was short, or `fsck` found faults."""
INTERRUPTED = 130
"""Ctrl-C or SIGTERM; the same command continues where it stopped."""
