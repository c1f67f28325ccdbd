"""What an experiment names: initializers, losses, optimizers, schedules and tasks."""
