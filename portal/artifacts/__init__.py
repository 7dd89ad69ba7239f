"""What a run leaves: the portable artifact, PEFT adapters, their cards."""
