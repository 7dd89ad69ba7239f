"""Where a study runs: files and commands for clusters. It holds no experiment logic."""
