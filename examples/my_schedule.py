"""A schedule of your own: cnnrun train digits_cnn schedule=root --plugin examples/my_schedule.py"""

from cnnrun.plugin import Schedule, schedules


@schedules.register("root")
class Root(Schedule):
    """The learning rate falls as 1 / sqrt(epoch)."""

    def __init__(self, steps_per_epoch: int, *, decay: float = 1.0) -> None:
        self.steps_per_epoch, self.decay = steps_per_epoch, decay

    def factor(self, step: int) -> float:
        """What the optimizer's learning rate is multiplied by at `step`, counted from 0."""
        return float((1 + self.decay * step / self.steps_per_epoch) ** -0.5)
