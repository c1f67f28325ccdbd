"""The training loop again, the slow and plain way, to compare with.

Written from what the documentation promises, on torch alone. What it takes from cnnrun is what the
experiment starts from (data, initial weights) and what is drawn (order, augmentation, dropout):
another order would be another experiment.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.config.experiment import Experiment
from cnnrun.data.batches import cropped
from cnnrun.engine.build import build
from cnnrun.runtime.randomness import generator, seed_default, shuffled
from tests.fuzz.reference_parts import (
    Average,
    Frozen,
    Loss,
    Rate,
    borders_of,
    clip,
    optimizer_of,
    rank_of,
)

CPU = torch.device("cpu")


class Reference:
    """`Reference(experiment).train()` gives the log's rows (without the rate), the last weights."""

    def __init__(self, experiment: Experiment, head: str | None = None) -> None:
        """head: what turns features into classes; the last fully connected layer by default."""
        self.experiment = experiment
        self.values: dict[str, Any] = self.experiment.to_dict()
        self.options = self.experiment.training
        self.parts = build(self.experiment)
        # L-BFGS of torch wants to view gradients, and the plain order in memory is the plain way.
        self.model = self.parts.model.to(memory_format=torch.contiguous_format)
        self.data = self.parts.dataset
        self.loss = Loss(self.values, self.data)
        self.frozen = Frozen(self.model, self.parts.transfer, head or self.last_layer())
        lr = self.values["optimizer"]["lr"]
        self.frozen.start(lr)
        self.optimizer = optimizer_of(self.values["optimizer"], self.frozen.groups)
        self.borders = borders_of(len(self.data.train), self.values["dataset"]["batch_size"])
        self.rate = Rate(self.values["schedule"], len(self.borders) - 1, self.options.epochs)
        self.average = Average(self.model, self.options.ema)
        self.step = 0

    def last_layer(self) -> str:
        """Of the model before a new head took its place."""
        model = build(self.experiment.model_copy(update={"transfer": None})).model
        return [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]

    def train(self) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        rows: list[dict[str, float]] = []
        best, best_epoch = None, 0
        for epoch in range(self.options.epochs):
            row = {"epoch": epoch + 1, **self.train_epoch(epoch), "step": self.step}
            row |= self.validate()
            rows.append(row)
            self.rate.observe(row.get("validation_loss", row["train_loss"]))
            rank = rank_of(row, self.options.monitor, self.loss.metric)
            if rank is None or best is None or rank > best:
                best, best_epoch = rank, epoch + 1
            waited = epoch + 1 - best_epoch
            if self.options.patience is not None and waited >= self.options.patience:
                break
        with self.average.applied():
            weights = {key: value.clone() for key, value in self.model.state_dict().items()}
        return rows, weights

    def train_epoch(self, epoch: int) -> dict[str, float]:
        if self.frozen.thaw(epoch):
            for group in self.frozen.groups[len(self.optimizer.param_groups) :]:
                self.optimizer.add_param_group(group)
        order = shuffled(len(self.data.train), self.experiment.seed, epoch)
        total_loss = total_second = 0.0
        for first, last in zip(self.borders, self.borders[1:], strict=False):
            chosen = order[first:last]
            images, labels = self.images(chosen, epoch), self.data.train.labels[chosen]
            draws = generator(self.experiment.seed, "augment", self.step)
            inputs, targets = self.parts.pipeline(images, labels, draws, chosen, epoch)
            self.model.train()
            self.frozen.keep_in_eval()
            measured = self.train_step(inputs, targets)
            self.average.update(self.step)
            self.step += 1
            for losses, outputs, of_them in measured:
                total_loss += losses.sum().item()
                total_second += self.loss.second(outputs, of_them)
        count = len(self.data.train)
        return {
            "train_loss": total_loss / count,
            f"train_{self.loss.metric}": total_second / count,
        }

    def images(self, chosen: Tensor, epoch: int) -> Tensor:
        """The training images; of files, random crops are drawn while they are decoded."""
        if self.parts.crop:
            return cropped(self.data.train.images, chosen, self.parts.crop, epoch)
        return self.data.train.images[chosen]

    def train_step(self, inputs: Tensor, targets: Tensor) -> list[Any]:
        """Clear gradients, forward, loss, backward, step; what the first forward pass gave."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["whole"] * self.rate.factor(self.step)
        seed_default(CPU, self.experiment.seed, "forward", self.step)
        pieces = min(self.options.accumulate, max(1, len(inputs) // 2))
        passes: list[list[Any]] = []

        def evaluate() -> float:
            self.optimizer.zero_grad()
            passes.append([])
            cut = zip(inputs.tensor_split(pieces), targets.tensor_split(pieces), strict=True)
            for some, of_them in cut:
                losses, outputs = self.loss(self.model, some, of_them)
                (losses.sum() / len(inputs)).backward()
                passes[-1].append((losses.detach(), outputs.detach(), of_them))
            if self.options.clip_norm is not None:
                clip(self.model, self.options.clip_norm)
            return sum(losses.sum().item() for losses, *_ in passes[-1]) / len(inputs)

        if self.values["optimizer"]["name"] == "lbfgs":
            self.optimizer.step(evaluate)
        else:
            evaluate()
            self.optimizer.step()
        return passes[0]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        split = self.data.validation
        if not split:
            return {}
        self.model.eval()
        with self.average.applied():
            chosen = torch.arange(len(split))
            inputs, targets = self.parts.pipeline(split.images[chosen], split.labels, None)
            losses, outputs = self.loss(self.model, inputs, targets)
        return {
            "validation_loss": losses.double().mean().item(),
            f"validation_{self.loss.metric}": self.loss.second(outputs, targets) / len(split),
        }
