"""From YAML to a validated `Experiment`. Empty, so that importing a part loads no torch."""
