"""Every kind of optimizer on every path of a step: as a plain loop of torch alone, or refused."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cnnrun import registry
from cnnrun.config.experiment import from_dict
from cnnrun.engine.build import build
from cnnrun.engine.measuring import measure
from cnnrun.engine.parts import Parts
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import ConfigError, UserError
from cnnrun.runtime.randomness import shuffled
from cnnrun.runtime.training_display import Quiet


def _halve(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """What a lost hook, wrapper or override would leave undone."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


def pre_hook(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """SGD with a hook before each step."""
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    optimizer.register_step_pre_hook(_halve)
    return optimizer


def post_hook(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """SGD with a hook after each step, which shrinks the weights."""
    optimizer = torch.optim.SGD(parameters, lr=lr)

    def shrink(*_: Any) -> None:
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(0.99)

    optimizer.register_step_post_hook(shrink)
    return optimizer


def replaced(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """Adam whose `step` is replaced on the instance."""
    optimizer = torch.optim.Adam(parameters, lr=lr / 10)
    step = optimizer.step

    @functools.wraps(step)
    def halved(closure: Any = None) -> Any:
        _halve(optimizer)
        return step(closure)

    optimizer.step = halved  # type: ignore[method-assign]
    return optimizer


def _wrapped(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def halved(self: Any, closure: Any = None) -> Any:
        _halve(self)
        return step(self, closure)

    return halved


class WrappedSGD(torch.optim.SGD):
    """Its step is torch's in a wrapper that `inspect.unwrap` would take off."""

    step = _wrapped(torch.optim.SGD.step)  # type: ignore[assignment]


class KeepingSGD(torch.optim.SGD):
    """Keeps half of the gradient instead of clearing it: a momentum of its own."""

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        _halve(self)


class TwoLooks(torch.optim.Optimizer):
    """Sharpness-aware minimization, shortened: the gradient a little uphill (Foret et al. 2021)."""

    def __init__(self, parameters: list[Any], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure()
        weights = [p for group in self.param_groups for p in group["params"]]
        uphill = [0.01 * p.grad for p in weights]
        torch._foreach_add_(weights, uphill)
        with torch.enable_grad():
            closure()
        torch._foreach_sub_(weights, uphill)
        for p in weights:
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])
        return loss


def wrapped(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """See `WrappedSGD`."""
    return WrappedSGD(parameters, lr=lr)


def keeping(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """See `KeepingSGD`."""
    return KeepingSGD(parameters, lr=lr)


def two_looks(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """See `TwoLooks`."""
    return TwoLooks(parameters, lr=lr)


class InfiniteAt3(nn.Module):
    """Cross entropy, infinite where the first label is 3."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,)"""
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return losses * float("inf") if targets[0] == 3 else losses


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """Not when this file is imported: other tests list what there is while they are collected."""
    registry.optimizers.register("path_pre_hook")(pre_hook)
    registry.optimizers.register("path_post_hook")(post_hook)
    registry.optimizers.register("path_replaced")(replaced)
    registry.optimizers.register("path_wrapped")(wrapped)
    registry.optimizers.register("path_keeping")(keeping)
    registry.optimizers.register("path_two_looks")(two_looks)
    registry.losses.register("path_infinite_at_3")(InfiniteAt3)
    registry.optimizers.register("path_odd")(odd)
    registry.optimizers.register("path_ignoring")(ignoring)


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "lr": 0.1},
    "decoupled": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "decoupled": True},
    "adamw": {"lr": 0.01},
    "rmsprop": {"lr": 0.01},
    "path_pre_hook": {},
    "path_post_hook": {},
    "path_replaced": {},
    "path_wrapped": {},
    "path_keeping": {},
    "path_two_looks": {},
    # A line search would magnify what the order of sums rounds away.
    "lbfgs": {"max_iter": 3, "line_search": False, "lr": 0.1},
}
CLOSURES = ("path_two_looks", "lbfgs")
PATHS = [
    *itertools.product(("off", "fp16"), (None, 0.05), ("stop", "skip"), (1, 3), (None,)),
    *itertools.product(("off", "bf16"), (None, 0.05), ("stop", "skip"), (1,), (0.9,)),
]


def _parts(optimizer: str, training: dict[str, Any], **more: Any) -> Parts:
    values = {
        "name": "paths",
        "dataset": {
            "name": "digits",
            "limit": 100,
            "validation": 0,
            "batch_size": 32,
            "normalize": "half",
        },
        "model": {"name": "mlp", "hidden": [8]},
        "optimizer": {"name": optimizer, **OPTIMIZERS[optimizer]},
        "loss": "path_infinite_at_3" if training.get("on_nan") == "skip" else "cross_entropy",
        "device": "cpu",
        "training": {"epochs": 2, "draw": False, **training},
        **more,
    }
    return build(from_dict(values, "paths"))


def _plain(parts: Parts) -> tuple[int, dict[str, Tensor]]:
    """The steps that were skipped, and the weights: all written out with torch alone."""
    options, model = parts.experiment.training, parts.model.train()
    optimizer = registry.optimizers.build(
        parts.experiment.optimizer, parameters=list(model.parameters())
    )
    sixteen = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.amp)
    scaler = torch.amp.GradScaler("cpu", enabled=options.amp == "fp16")
    average = {k: v.clone() for k, v in model.state_dict().items()}
    split, step, skipped = parts.dataset.train, 0, 0
    for epoch in range(options.epochs):
        for chosen in shuffled(len(split), 0, epoch).split(32):
            images = (split.images[chosen].float() / 255 - 0.5) / 0.5
            labels = split.labels[chosen]

            def evaluate(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                optimizer.zero_grad()
                total, count = torch.zeros(()), min(options.accumulate, max(1, len(images) // 2))
                cut = zip(images.tensor_split(count), labels.tensor_split(count), strict=True)
                for inputs, targets in cut:
                    with torch.autocast("cpu", sixteen) if sixteen else nullcontext():
                        loss = parts.loss(model(inputs), targets).sum() / len(images)
                    scaler.scale(loss).backward()
                    total += loss.detach()
                return total

            if parts.experiment.optimizer.name in CLOSURES:
                optimizer.step(evaluate)
            elif not evaluate().isfinite() and options.on_nan == "skip":
                skipped += 1
                step += 1
                for parameter in model.parameters():
                    parameter.grad = None
                continue
            else:
                if options.clip_norm is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
                scaler.step(optimizer)
                scaler.update()
            for key, value in model.state_dict().items():
                decay = min(options.ema or 0, (1 + step) / (10 + step))
                average[key].lerp_(value, 1 - decay)
            step += 1
    return skipped, average if options.ema else model.state_dict()


def _trained(parts: Parts) -> tuple[int, dict[str, Tensor]]:
    trainer = Trainer(parts)
    skipped = 0
    while trainer.progress.epoch < parts.experiment.training.epochs:
        means = trainer.train_epoch(Quiet())
        skipped += trainer.progress.skipped  # it counts anew in each epoch
        trainer.finish_epoch(means)
    average = trainer.stepper.average
    with average.applied() if average else nullcontext():
        weights = {key: value.clone() for key, value in parts.model.state_dict().items()}
    return skipped, weights


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    OPTIMIZERS,
)
def test_every_path_is_a_plain_loop_or_refused(optimizer: str) -> None:
    skipped_somewhere = False
    for amp, clip_norm, on_nan, accumulate, ema in PATHS:
        training = {"amp": amp, "clip_norm": clip_norm, "on_nan": on_nan, "ema": ema}
        training |= {"accumulate": accumulate}
        if optimizer in CLOSURES and (amp == "fp16" or clip_norm or on_nan == "skip"):
            with pytest.raises(ConfigError, match=f"training.*: {optimizer} evaluates the loss"):
                Trainer(_parts(optimizer, training))
            continue
        skipped, weights = _trained(_parts(optimizer, training))
        expected_skips, expected = _plain(_parts(optimizer, training))
        assert skipped == expected_skips, training
        skipped_somewhere |= skipped > 0
        # L-BFGS, by its differences of gradients, magnifies what the order of sums rounds away.
        tolerance = 1e-4 if amp == "off" and optimizer != "lbfgs" else 5e-3
        for key, value in expected.items():
            torch.testing.assert_close(
                weights[key], value, rtol=tolerance, atol=tolerance, msg=f"{key} {training}"
            )
    assert skipped_somewhere or optimizer in CLOSURES, "some batch begins with a 3"


def test_bare_steps_are_for_torchs_own_code_alone() -> None:
    from cnnrun.runtime.torch_shortcuts import bare_step

    weights = [nn.Parameter(torch.ones(3))]
    own = torch.optim.SGD(weights, lr=0.1)
    assert bare_step(own) != own.step, "the plain case is the fast one"
    foreign = WrappedSGD(weights, lr=0.1)
    assert bare_step(foreign) == foreign.step
    # Hooks that come later, for one or for all optimizers, are called as well.
    step, calls = bare_step(own), []
    weights[0].grad = torch.ones(3)
    step()
    handles = [
        own.register_step_post_hook(lambda *_: calls.append("own")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("all")),
    ]
    step()
    for handle in handles:
        handle.remove()
    step()
    assert sorted(calls) == ["all", "own"]


@pytest.mark.parametrize("channels_last", [True, False])
def test_lbfgs_trains_convolutions_however_they_lie(channels_last: bool) -> None:
    model = {"name": "cnn", "channels": [4, 4], "batch_norm": True}
    trainer = Trainer(_parts("lbfgs", {"channels_last": channels_last}, model=model))
    trainer.fit(Quiet())
    losses = measure(trainer, [next(trainer.train_batches.iterate())])
    assert losses["loss"] is not None
    assert losses["loss"] < 2.2


class Odd(torch.optim.SGD):
    """Wants what nobody gives."""

    def step(self, loss: Tensor) -> None:  # type: ignore[override]  # noqa: ARG002
        raise AssertionError("is never called")


def odd(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """See `Odd`."""
    return Odd(parameters, lr=lr)


class Ignoring(TwoLooks):
    """Never looks."""

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # noqa: ARG002
        return None


def ignoring(parameters: list[Any], *, lr: float = 0.1) -> torch.optim.Optimizer:
    """See `Ignoring`."""
    return Ignoring(parameters, lr=lr)


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [("path_odd", r"has a `step\(loss\)`"), ("path_ignoring", "given a closure and never called")],
)
def test_steps_that_can_not_be_called_are_told_with_their_place(optimizer: str, told: str) -> None:
    OPTIMIZERS[optimizer] = {}
    try:
        with pytest.raises(UserError, match=told) as error:
            Trainer(_parts(optimizer, {})).fit(Quiet())
    finally:
        del OPTIMIZERS[optimizer]
    assert f"{Path(__file__).name}:" in str(error.value)
    assert f"the optimizer '{optimizer}'" in str(error.value)
