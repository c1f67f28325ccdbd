"""Optimizers and schedules against torch's, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as torchs

from cnnrun.errors import UserError
from cnnrun.registry import optimizers, schedules
from cnnrun.schedules import Schedule, build_schedule

EPOCHS, STEPS = 6, 5
TOTAL = EPOCHS * STEPS


def _optimizer(model: nn.Module, name: str, **parameters: Any) -> torch.optim.Optimizer:
    config = optimizers.get(name).schema()(**parameters)
    built: torch.optim.Optimizer = optimizers.build(config, parameters=list(model.parameters()))
    return built


@pytest.mark.parametrize(
    ("name", "parameters", "theirs"),
    [
        ("sgd", {"lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1)),
        ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
         lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01)),
        ("adam", {"lr": 0.1, "beta2": 0.9}, lambda p: torch.optim.Adam(p, 0.1, (0.9, 0.9))),
        ("adamw", {"lr": 0.1}, lambda p: torch.optim.AdamW(p, 0.1)),
        ("rmsprop", {"lr": 0.1, "momentum": 0.5},
         lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.5)),
        ("adagrad", {"lr": 0.1}, lambda p: torch.optim.Adagrad(p, 0.1)),
    ],
)  # fmt: skip
def test_steps_are_torchs(
    name: str, parameters: dict[str, Any], theirs: Callable[..., torch.optim.Optimizer]
) -> None:
    """Also where ours runs torch's fused kernel and the other does not."""
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    pair = [_optimizer(models[0], name, **parameters), theirs(models[1].parameters())]
    for step in range(5):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        for model, optimizer in zip(models, pair, strict=True):
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(UserError, match="set momentum"):
        _optimizer(nn.Linear(1, 1), "sgd", nesterov=True)


def _schedule(name: str, **parameters: Any) -> Schedule:
    return build_schedule(schedules.get(name).schema()(**parameters), TOTAL, STEPS)  # type: ignore[arg-type]


def _torchs(make: Callable[[torch.optim.Optimizer], Any], by_epoch: bool) -> list[float]:
    """The rate that torch's scheduler uses at each step, of a base rate of 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for step in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if not by_epoch or (step + 1) % STEPS == 0:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("ours", "make", "by_epoch"),
    [
        (("constant", {}), lambda o: torchs.ConstantLR(o, factor=1.0), True),
        (("step", {"epochs": 2, "gamma": 0.5}), lambda o: torchs.StepLR(o, 2, 0.5), True),
        (("multistep", {"milestones": [1, 4], "gamma": 0.1}),
         lambda o: torchs.MultiStepLR(o, [1, 4], 0.1), True),
        (("cosine", {"final": 0.1}), lambda o: torchs.CosineAnnealingLR(o, TOTAL, 0.1), False),
        (("linear", {"final": 0.5}), lambda o: torchs.LinearLR(o, 1.0, 0.5, TOTAL), False),
        (("one_cycle", {}), lambda o: torchs.OneCycleLR(o, 1.0, TOTAL), False),
        (("one_cycle", {"rise": 0.5, "start": 0.1, "final": 0.01}),
         lambda o: torchs.OneCycleLR(
             o, 1.0, TOTAL, pct_start=0.5, div_factor=10, final_div_factor=10),
         False),
    ],
)  # fmt: skip
def test_rates_are_torchs_at_every_step(
    ours: tuple[str, dict[str, Any]],
    make: Callable[[torch.optim.Optimizer], Any],
    by_epoch: bool,
) -> None:
    schedule = _schedule(ours[0], **ours[1])
    rates = [schedule.factor(step) for step in range(TOTAL)]
    assert rates == pytest.approx(_torchs(make, by_epoch), rel=1e-6)


def test_plateau_is_torchs_and_survives_a_resume() -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.89999, 0.5, 0.6, 0.6, 0.6, 0.6]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torchs.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    schedule = _schedule("plateau", gamma=0.5, patience=1)
    for loss in losses:
        fresh = _schedule("plateau", gamma=0.5, patience=1)
        fresh.load_state_dict(schedule.state_dict())
        schedule = fresh
        schedule.observe(loss)
        scheduler.step(loss)
        assert schedule.factor(0) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert schedule.factor(0) < 1


def test_plateau_takes_nan_for_no_improvement() -> None:
    schedule = _schedule("plateau", patience=0)
    schedule.observe(1.0)
    schedule.observe(float("nan"))
    assert schedule.factor(0) == pytest.approx(0.1)


@pytest.mark.parametrize("name", [n for n in schedules.names() if n != "multistep"])
def test_warm_up_rises_once_to_the_schedules_own_rate(name: str) -> None:
    """Three of six epochs: the first step has 1/15 of the rate, the fifteenth all of it."""
    schedule = _schedule(name, warmup_epochs=3.0)
    own = getattr(schedule, "after")  # noqa: B009
    rising = [schedule.factor(s) / own.factor(s) for s in range(15)]
    assert rising == pytest.approx([(s + 1) / 15 for s in range(15)])
    assert [schedule.factor(s) for s in range(15, TOTAL)] == [
        own.factor(s) for s in range(15, TOTAL)
    ]


def test_milestones_count_from_the_start_whatever_the_warm_up() -> None:
    schedule = _schedule("step", epochs=2, gamma=0.1, warmup_epochs=3.0)
    by_epoch = [schedule.factor(epoch * STEPS + STEPS - 1) for epoch in range(EPOCHS)]
    assert by_epoch == pytest.approx([5 / 15, 10 / 15, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_as_long_as_training_is_refused() -> None:
    with pytest.raises(UserError, match="warmup_epochs 6"):
        _schedule("constant", warmup_epochs=6.0)
