"""A generator makes digits from noise, a discriminator distinguishes them from real ones
(Goodfellow et al. 2014):

cnnrun train digits_cnn task=gan model=gan dataset.normalize=none 'optimizer={name: adam, lr: 0.002, beta1: 0.5}' --plugin examples/gan.py"""

import torch
from torch import nn
from torch.nn.functional import softplus

from cnnrun.plugin import Task, models, tasks


@models.register("gan")
class GAN(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], *, code: int = 16, width: int = 64):
        super().__init__()
        self.code, size = code, torch.Size(input_shape).numel()
        maker = nn.Linear(code, width), nn.ReLU(), nn.Linear(width, size), nn.Sigmoid()
        self.generator = nn.Sequential(*maker, nn.Unflatten(1, input_shape))
        judge = nn.Linear(size, width), nn.LeakyReLU(0.2), nn.Linear(width, 1), nn.Flatten(0)
        self.discriminator = nn.Sequential(nn.Flatten(), *judge)

    def forward(self, images):  # how real they look: (N, C, H, W) to (N,)
        return self.discriminator(images)


@tasks.register("gan")
class Generate(Task):
    def optimizers(self, model, make):
        return {"judge": make(model.discriminator), "maker": make(model.generator, lr=2e-3)}

    def step(self, model, loss, inputs, targets):  # the discriminator's losses, and what was made
        made = model.generator(torch.randn(len(inputs), model.code, device=inputs.device))
        return softplus(-model(inputs)) + softplus(model(made.detach())), made

    def train_step(self, step):
        losses, made = step.forward()
        step.minimize(losses, "judge")
        step.minimize(softplus(-step.model(made)), "maker")
        step.record(losses, made)
