"""Two networks with an optimizer each:

cnnrun train digits_cnn task=gan model=gan dataset.normalize=none training.epochs=30 \\
    'optimizer={name: adam, lr: 0.002, beta1: 0.5}' --plugin examples/gan.py

A generator makes digits of noise, a discriminator tells them from real ones (Goodfellow et al. 2014).
"""

import torch
import torch.nn.functional as F
from torch import nn

from cnnrun.plugin import Task, TrainingStep, models, tasks


@models.register("gan")
class GAN(nn.Module):
    """A generator and a discriminator, both of dense layers."""

    def __init__(self, input_shape: tuple[int, int, int], *, code: int = 16, width: int = 64):
        super().__init__()
        numbers, self.code = input_shape[0] * input_shape[1] * input_shape[2], code
        layers = nn.Linear(code, width), nn.ReLU(), nn.Linear(width, numbers), nn.Sigmoid()
        self.generator = nn.Sequential(*layers, nn.Unflatten(1, input_shape))
        judge = nn.Linear(numbers, width), nn.LeakyReLU(0.2), nn.Linear(width, 1), nn.Flatten(0)
        self.discriminator = nn.Sequential(nn.Flatten(), *judge)

    def forward(self, images):
        """How real images look: (N, C, H, W) to (N,)."""
        return self.discriminator(images)


@tasks.register("gan")
class Generate(Task):
    """Images like those of the data set, made of noise."""

    defaults = {"loss": "cross_entropy"}

    def optimizers(self, model, make):
        return {"judge": make(model.discriminator), "maker": make(model.generator, lr=2e-3)}

    def step(self, model, loss, inputs, targets):
        """How the discriminator errs: losses (N,), and the images (N, C, H, W) that were made."""
        made = model.generator(torch.randn(len(inputs), model.code, device=inputs.device))
        real, fake = model.discriminator(inputs), model.discriminator(made.detach())
        return F.softplus(-real) + F.softplus(fake), made

    def train_step(self, step: TrainingStep) -> None:
        losses, made = step.forward()
        step.backward(losses)
        step.update("judge")
        step.zero_grad()
        step.backward(F.softplus(-step.model.discriminator(made)))
        step.update("maker")
        step.record(losses, made)
