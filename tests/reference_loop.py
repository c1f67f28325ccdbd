"""Training, written out the slow way in plain torch: what the engine's results are held against.

The data, their pipeline and the initial model are cnnrun's; all that happens afterwards is not.
Every parameter has a group of its own, every step makes its decisions anew, nothing is cached.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun.config.experiment import Experiment
from cnnrun.data.batches import batch_borders
from cnnrun.data.dataset import Split
from cnnrun.engine.build import build
from cnnrun.runtime.randomness import derive_seed, seed_default, shuffled


@dataclass
class Reference:
    """What a training came to: the weights at its end, and the mean losses of each epoch."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)


def train(experiment: Experiment, head: str, new: bool) -> Reference:
    """Train `experiment` on the CPU.

    head: the module that turns features into logits; `new`: it was made for the transfer.
    """
    parts = build(experiment)
    model, found, transfer = parts.model, Reference(), parts.transfer
    names = [name for name, _ in model.named_parameters()]

    def is_meant(name: str, pattern: str | None) -> bool:
        if pattern == "features":
            return not f"{name}.".startswith(f"{head}.")
        return name.startswith(f"{pattern}.") or fnmatchcase(name, pattern or "")

    def is_frozen(name: str, epoch: int) -> bool:
        if not transfer or (transfer.unfreeze_at and epoch + 1 >= transfer.unfreeze_at):
            return False
        return is_meant(name, transfer.freeze) and not (new and f"{name}.".startswith(f"{head}."))

    def rate(name: str) -> float:
        patterns = transfer.lr_multipliers if transfer else {}
        factors = [factor for pattern, factor in patterns.items() if is_meant(name, pattern)]
        return float(experiment.optimizer.lr * (factors or [1.0])[0])

    groups = [{"params": [p], "lr": rate(name)} for name, p in model.named_parameters()]
    optimizer = _optimizer(experiment, groups)
    train_split, step = parts.dataset.train, 0
    for epoch in range(experiment.training.epochs):
        order = shuffled(len(train_split), experiment.seed, epoch)
        losses: list[Tensor] = []
        borders = batch_borders(len(order), experiment.dataset.batch_size, 2)
        for first, last in pairwise(borders):
            chosen = order[first:last]
            frozen = {name for name in names if is_frozen(name, epoch)}
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name not in frozen)
            _set_modes(model, frozen)
            for name, module in model.named_modules():
                if frozen and list(module.buffers()) and not list(module.parameters()):
                    module.train(module.training and not is_meant(name, transfer.freeze))
            random = torch.Generator().manual_seed(derive_seed(experiment.seed, "augment", step))
            images, labels = train_split.images[chosen], train_split.labels[chosen]
            inputs, targets = parts.pipeline(images, labels, random, chosen, epoch)
            seed_default(torch.device("cpu"), experiment.seed, "forward", step)
            optimizer.zero_grad()
            of_each = parts.loss(model(inputs), targets)
            of_each.mean().backward()
            optimizer.step()
            losses.append(of_each.detach())
            step += 1
        found.train_loss.append(float(torch.cat(losses).double().mean()))
        found.validation_loss.append(_loss(model, parts, parts.dataset.validation))
    found.weights = {key: value.clone() for key, value in model.state_dict().items()}
    return found


def _optimizer(experiment: Experiment, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    chosen = experiment.optimizer.model_dump()
    name = chosen.pop("name")
    if name == "sgd":
        del chosen["decoupled"]
        return torch.optim.SGD(groups, **chosen, foreach=False)
    chosen["betas"] = (chosen.pop("beta1"), chosen.pop("beta2"))
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[name](groups, **chosen, foreach=False)


def _set_modes(model: nn.Module, frozen: set[str]) -> None:
    """Training mode, but for what is frozen whole and for what only frozen layers come after.

    For models whose layers compute in the order in which they are registered.
    """
    model.train()
    leaves = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    trains = [any(f"{n}.{k}" not in frozen for k, _ in m.named_parameters()) for n, m in leaves]
    first = trains.index(True) if True in trains else len(leaves)
    ahead = [i for i, (_, m) in enumerate(leaves[:first]) if [*m.parameters(), *m.buffers()]]
    if frozen and ahead:
        for _, module in leaves[: ahead[-1]]:
            module.eval()
    for name, module in model.named_modules():
        keys = [f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters()]
        if keys and frozen.issuperset(keys):
            module.eval()


@torch.no_grad()
def _loss(model: nn.Module, parts: Any, split: Split | None) -> float:
    if split is None:
        return float("nan")
    inputs, targets = parts.pipeline(split.images[torch.arange(len(split))], split.labels, None)
    return float(parts.loss(model.eval()(inputs), targets).double().mean())
