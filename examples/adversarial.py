"""Adversarial training: cnnrun train digits_cnn task=adversarial --plugin examples/adversarial.py

Each image is changed by up to `size` a pixel so that the network errs the most (Madry et al. 2018); `steps: 1` with
`length` = `size` is the fast gradient sign method (Goodfellow et al. 2015).
"""

import torch

from cnnrun.plugin import Classify, TrainingStep, tasks


@tasks.register("adversarial")
class Adversarial(Classify):
    """Classification of the worst images near those of the data set."""

    def __init__(self, *, size: float = 0.05, length: float = 0.02, steps: int = 3) -> None:
        super().__init__()
        self.size, self.length, self.steps = size, length, steps

    def train_step(self, step: TrainingStep) -> None:
        clean = step.pixels()
        worst = clean + self.size * (2 * torch.rand_like(clean) - 1)
        for _ in range(self.steps):
            worst.requires_grad_()
            with step.evaluating():  # statistics and dropout rest
                losses, _ = step.forward(step.normalize(worst))
            [slope] = torch.autograd.grad(losses.sum(), worst)
            worst = worst.detach() + self.length * slope.sign()
            worst = worst.clamp(clean - self.size, clean + self.size).clamp(0, 1)
        losses, outputs = step.forward(step.normalize(worst))
        step.minimize(losses)
        step.record(losses, outputs)
