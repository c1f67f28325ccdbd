"""What one run leaves: its directory, checkpoints, log, lock, and how it is resumed."""
