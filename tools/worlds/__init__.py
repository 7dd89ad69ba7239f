"""How the suites and bases of portal/embedded were made: worlds, facts, tasks, corpora and pretraining."""
