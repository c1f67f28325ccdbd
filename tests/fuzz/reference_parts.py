"""What the reference loop is made of, each from its definition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnrun.models.transfer import Transfer


class Loss:
    """One loss a sample, and the second metric's sum: accuracy, or the squared error of pixels."""

    def __init__(self, values: dict[str, Any], data: Any) -> None:
        self.values = values["loss"]
        self.reconstructs = values["task"]["name"] == "reconstruct"
        self.metric = "mse" if self.reconstructs else "accuracy"
        counts = torch.bincount(data.train.labels, minlength=len(data.classes)).double()
        weights = 1 / counts.clamp(min=counts[counts > 0].min())
        # Scaled so that their mean over the training samples is 1.
        self.balanced = (weights * counts.sum() / (weights * counts).sum()).float()

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not self.reconstructs:
            outputs = model(inputs)
            return self.of_labels(outputs, targets), outputs
        found = model(inputs)
        losses = self.of_pixels(found.pixels, targets).flatten(1).mean(1)
        if found.penalty is not None:
            losses = losses + found.penalty
        return losses, (found.pixels - targets).square().flatten(1).mean(1)

    def of_pixels(self, pixels: Tensor, targets: Tensor) -> Tensor:
        if self.values["name"] == "bce":
            return -(targets * pixels.log() + (1 - targets) * (1 - pixels).log())
        gap = pixels - targets
        return gap.abs() if self.values["name"] == "l1" else gap * gap

    def of_labels(self, outputs: Tensor, targets: Tensor) -> Tensor:
        classes, name = outputs.shape[1], self.values["name"]
        shares = F.one_hot(targets, classes).float() if targets.dim() == 1 else targets
        if name in ("mse", "l1"):
            gap = outputs - shares
            return (gap.abs() if name == "l1" else gap * gap).mean(1)
        logs = outputs - outputs.logsumexp(1, keepdim=True)
        weights = self.balanced if self.values.get("weight") == "balanced" else torch.ones(classes)
        if name == "focal":
            return -(shares * weights * (1 - logs.exp()) ** self.values["gamma"] * logs).sum(1)
        smoothing = self.values.get("label_smoothing", 0.0)
        return -((shares * (1 - smoothing) + smoothing / classes) * weights * logs).sum(1)

    def second(self, outputs: Tensor, targets: Tensor) -> float:
        if self.reconstructs:
            return outputs.double().sum().item()
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        return (outputs.argmax(1) == labels).sum().item()


class Frozen:
    """What does not train, and at which rates the rest does."""

    def __init__(self, model: nn.Module, transfer: Transfer | None, head: str) -> None:
        self.model, self.transfer, self.head = model, transfer or Transfer(), head
        self.frozen = self.chosen(self.transfer.freeze or "none")
        if self.transfer.head is not None:  # a new head is none of the old layers
            self.frozen = {name for name in self.frozen if not _below(name, head)}
        self.groups: list[dict[str, Any]] = []

    def chosen(self, pattern: str) -> set[str]:
        """The names of parameters that a pattern means."""
        names = {name for name, _ in self.model.named_parameters()}
        if pattern == "features":
            return {name for name in names if not _below(name, self.head)}
        return {name for name in names if pattern != "none" and _means(pattern, name)}

    def start(self, lr: float) -> None:
        self.factors = dict.fromkeys((name for name, _ in self.model.named_parameters()), 1.0)
        for pattern, factor in reversed(self.transfer.lr_multipliers.items()):
            self.factors |= dict.fromkeys(self.chosen(pattern), factor)
        self.lr = lr
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in self.frozen)
        self.add_groups(set(self.factors) - self.frozen)

    def add_groups(self, names: set[str]) -> None:
        parameters = dict(self.model.named_parameters())
        for factor in sorted({self.factors[name] for name in names}):
            chosen = [p for n, p in parameters.items() if n in names and self.factors[n] == factor]
            lr = self.lr * factor
            self.groups.append({"params": chosen, "lr": lr, "whole": lr})

    def thaw(self, epoch: int) -> bool:
        """Whether something trains from this epoch (from 0) on that did not before."""
        at = self.transfer.unfreeze_at
        if not at or epoch + 1 < at or not self.frozen:
            return False
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
        thawed, self.frozen = self.frozen, set()
        self.add_groups(thawed)
        return True

    def keep_in_eval(self) -> None:
        """What stands still is in eval mode: frozen layers, and the dropout among them.

        Dropout behind the last frozen layer belongs to what trains. These models list their layers
        in the order in which they compute.
        """
        if not self.frozen:
            return
        modules = dict(self.model.named_modules())
        inside = {
            name: {n for n, _ in self.model.named_parameters() if _below(n, name)}
            for name in modules
        }
        leaves = [name for name, module in modules.items() if not list(module.children())]
        trains = [k for k, name in enumerate(leaves) if inside[name] - self.frozen]
        first = trains[0] if trains else len(leaves)
        last = max((k for k in range(first) if inside[leaves[k]]), default=0)
        for name, module in modules.items():
            if inside[name] and inside[name] <= self.frozen:
                module.eval()
        for name in leaves[:last]:
            modules[name].eval()
        for name, module in modules.items():
            plain = not list(module.parameters()) and list(module.buffers())
            if plain and _means(self.transfer.freeze or "none", name):
                module.eval()


def _means(pattern: str, name: str) -> bool:
    return _below(name, pattern) or fnmatchcase(name, pattern)


def _below(name: str, *parents: str) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def optimizer_of(values: dict[str, Any], groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """torch's own, in its plainest form."""
    rest = {k: v for k, v in values.items() if k not in ("name", "beta1", "beta2", "decoupled")}
    plain = {"foreach": False}
    if values["name"] == "sgd":
        kind = _Decoupled if values["decoupled"] else torch.optim.SGD
        return kind(groups, **rest, **plain)
    if values["name"] == "lbfgs":
        search = "strong_wolfe" if values["line_search"] else None
        return torch.optim.LBFGS(
            groups,
            values["lr"],
            values["max_iter"],
            history_size=values["history"],
            line_search_fn=search,
        )
    if "beta1" in values:
        rest["betas"] = (values["beta1"], values["beta2"])
    kinds = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "adagrad": torch.optim.Adagrad,
    }
    made: torch.optim.Optimizer = kinds[values["name"]](groups, **rest, **plain)
    return made


class _Decoupled(torch.optim.SGD):
    """Weights shrink by lr * decay apart from the step."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data *= 1 - group["lr"] * group["weight_decay"]
            group["weight_decay"] = 0.0
        super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay


def clip(model: nn.Module, longest: float) -> None:
    """Shorten the gradient, all parameters' together, to this length."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
    for gradient in gradients:
        gradient *= min(1.0, longest / (norm + 1e-6))


def borders_of(count: int, batch_size: int) -> list[int]:
    """Where batches start and end; a last one of a single sample joins the one before."""
    borders = [*range(0, count, batch_size), count]
    if len(borders) > 2 and borders[-1] - borders[-2] == 1 < batch_size:
        del borders[-2]
    return borders


class Rate:
    """The learning rate's factor."""

    def __init__(self, values: dict[str, Any], per_epoch: int, epochs: int) -> None:
        self.values, self.per_epoch, self.total = values, per_epoch, epochs * per_epoch
        self.warmup = round(values["warmup_epochs"] * per_epoch)
        self.plateau, self.best, self.waited = 1.0, math.inf, 0

    def factor(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rising * self.curve(step)

    def curve(self, step: int) -> float:
        v, name = self.values, self.values["name"]
        done = max(0, step - self.warmup) / max(self.total - self.warmup, 1)
        if name == "cosine":
            return v["final"] + (1 - v["final"]) * (1 + math.cos(math.pi * done)) / 2
        if name == "linear":
            return 1 - (1 - v["final"]) * done
        if name == "multistep":
            return v["gamma"] ** sum(step >= m * self.per_epoch for m in v["milestones"])
        if name == "step":
            return v["gamma"] ** (step // (v["epochs"] * self.per_epoch))
        if name == "one_cycle":
            return self.one_cycle(max(0, step - self.warmup), max(self.total - self.warmup, 2))
        return self.plateau

    def one_cycle(self, step: int, steps: int) -> float:
        """As torch's OneCycleLR counts, from `start` up to 1 and down to `final`."""
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        torch_s = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=steps,
            pct_start=self.values["rise"],
            div_factor=1 / self.values["start"],
            final_div_factor=self.values["start"] / self.values["final"],
            cycle_momentum=False,
        )
        for _ in range(step):
            optimizer.step()
            torch_s.step()
        return float(optimizer.param_groups[0]["lr"])

    def observe(self, loss: float) -> None:
        if self.values["name"] != "plateau":
            return
        better = loss < self.best * (1 - self.values["threshold"])
        self.best, self.waited = (loss, 0) if better else (self.best, self.waited + 1)
        if self.waited > self.values["patience"]:
            self.plateau, self.waited = (
                max(self.plateau * self.values["gamma"], self.values["final"]),
                0,
            )


class Average:
    """A running average of weights and buffers; without a decay, nothing."""

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.model, self.decay = model, decay
        self.kept = {k: v.clone() for k, v in self.floats().items()}

    def floats(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.model.state_dict().items() if v.is_floating_point()}

    def update(self, step: int) -> None:
        if self.decay is not None:
            decay = min(self.decay, (1 + step) / (10 + step))
            for key, value in self.floats().items():
                self.kept[key] = decay * self.kept[key] + (1 - decay) * value

    @contextmanager
    def applied(self) -> Iterator[None]:
        if self.decay is None:
            yield
            return
        own = {key: value.clone() for key, value in self.floats().items()}
        self.put(self.kept)
        yield
        self.put(own)

    @torch.no_grad()
    def put(self, values: dict[str, Tensor]) -> None:
        for key, value in self.floats().items():
            value.copy_(values[key])


def rank_of(row: dict[str, float], monitor: str, metric: str) -> tuple[float, ...] | None:
    """Larger is better: what is monitored, then the loss; None without a validation split."""
    if "validation_loss" not in row:
        return None
    name = ("accuracy" if metric == "accuracy" else "loss") if monitor == "auto" else monitor
    first = row[f"validation_{name}"]
    return (first if name == "accuracy" else -first, -row["validation_loss"])
