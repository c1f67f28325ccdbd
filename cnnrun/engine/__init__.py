"""Build an experiment and train it: the loop, its step and what speeds them up."""
