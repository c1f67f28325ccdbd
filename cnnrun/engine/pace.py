"""How fast a training goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """The steps of this process, and the seconds that they took without validation and the like."""

    steps: int = 0
    seconds: float = 0.0

    def add(self, steps: int, seconds: float) -> None:
        self.steps += steps
        self.seconds += seconds

    def per_second(self, images: float) -> float:
        """Images per second, if a step takes `images` on average."""
        return self.steps * images / self.seconds if self.seconds else 0.0

    def seconds_left(self, done: int, epochs: int) -> float:
        """An estimate for the epochs after the first `done`."""
        return self.seconds / done * (epochs - done)
