"""Learn from a trained network's answers: cnnrun train digits_cnn 'task={name: distill, teacher: RUN}' --plugin examples/distillation.py

The student sees how sure the teacher is of each class, which says more than the label (Hinton et al. 2015).
"""

import torch
import torch.nn.functional as F

from cnnrun.plugin import Classify, TrainingStep, tasks, trained_network


@tasks.register("distill")
class Distill(Classify):
    """Classification that also imitates a trained network."""

    def __init__(self, *, teacher: str, temperature: float = 4.0, share: float = 0.9) -> None:
        super().__init__()
        self.run, self.temperature, self.share = teacher, temperature, share
        self.teacher = None

    def start_epoch(self, model, dataset, epoch, epochs):
        """Called before each epoch of training, so that evaluation needs no teacher."""
        self.teacher = self.teacher or trained_network(self.run, dataset)
        return super().start_epoch(model, dataset, epoch, epochs)

    def train_step(self, step: TrainingStep) -> None:
        losses, outputs = step.forward()
        with torch.no_grad():
            wanted = (self.teacher(step.pixels()) / self.temperature).softmax(1)
        with step.autocast():
            found = (step.model(step.inputs) / self.temperature).log_softmax(1)
        imitation = F.kl_div(found, wanted, reduction="none").sum(1) * self.temperature**2
        step.minimize(self.share * imitation + (1 - self.share) * losses)
        step.record(losses, outputs)
