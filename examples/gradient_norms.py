"""Log the gradients' length, and stop by a rule: cnnrun train digits_cnn task=watched --plugin examples/gradient_norms.py

`metrics.jsonl` has `gradient_norm` for each epoch; training ends once it is below `flat`, as early stopping ends it.
"""

import torch

from cnnrun.plugin import Classify, TrainingStep, tasks


@tasks.register("watched")
class Watched(Classify):
    """Classification that ends where the loss is flat."""

    def __init__(self, *, flat: float = 0.1) -> None:
        super().__init__()
        self.flat, self.total, self.steps = flat, 0.0, 0

    def train_step(self, step: TrainingStep) -> None:
        losses, outputs = step.forward()
        step.backward(losses)
        norms = [p.grad.norm() for p in step.model.parameters() if p.grad is not None]
        self.total, self.steps = self.total + torch.stack(norms).norm(), self.steps + 1
        step.update()
        step.record(losses, outputs)

    def epoch_figures(self):
        mean, self.total, self.steps = float(self.total) / self.steps, 0.0, 0
        return {"gradient_norm": mean}

    def why_stop(self, row):
        return "the loss is flat" if row["gradient_norm"] < self.flat else ""

    def state(self):  # a checkpoint in the middle of an epoch has the sum so far
        return {"total": float(self.total), "steps": self.steps}

    def restore(self, state):
        self.total, self.steps = state["total"], state["steps"]
