"""Sharpness-aware minimization: cnnrun train digits_cnn task=sam --plugin examples/sam.py

Each step goes by the gradient at the worst point near the weights, so flat minima are found (Foret et al. 2021).
"""

import torch

from cnnrun.plugin import Classify, TrainingStep, tasks


@tasks.register("sam")
class SAM(Classify):
    """Classification by weights whose neighbours are good, too."""

    def __init__(self, *, rho: float = 0.05) -> None:
        super().__init__()
        self.rho = rho

    def train_step(self, step: TrainingStep) -> None:
        losses, outputs = step.forward()
        step.backward(losses)
        step.record(losses, outputs)
        weights = [p for p in step.model.parameters() if p.grad is not None]
        length = torch.stack([p.grad.norm() for p in weights]).norm()
        kept = [p.detach().clone() for p in weights]
        with torch.no_grad():
            for weight in weights:
                weight.add_(weight.grad * (self.rho / (length + 1e-12)))
        step.zero_grad()
        step.backward(step.forward()[0])
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.copy_(before)
        step.update()
