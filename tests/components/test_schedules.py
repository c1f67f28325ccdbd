"""Schedules over any length of training, with and without warm-up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as torchs

from cnnrun.components.schedules import Schedule, build_schedule
from cnnrun.errors import UserError
from cnnrun.registry import schedules

REQUIRED: dict[str, dict[str, Any]] = {"multistep": {"milestones": [2, 4]}}


def _schedule(name: str, total: int, steps_per_epoch: int = 1, **parameters: Any) -> Schedule:
    config = schedules.get(name).schema()(**{**REQUIRED.get(name, {}), **parameters})
    return build_schedule(config, total, steps_per_epoch)  # type: ignore[arg-type]


def _factors(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.factor(step) for step in range(steps)]


@given(
    total=st.integers(3, 40), rise=st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 0.9, 0.99]),
    start=st.floats(0.01, 1), final=st.floats(0, 1e-2),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_one_cycle_is_torchs_for_any_length(
    total: int, rise: float, start: float, final: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    share = max(final, 1e-9)
    try:
        scheduler = torchs.OneCycleLR(
            optimizer, 1.0, total, pct_start=rise, div_factor=1 / start,
            final_div_factor=start / share,
        )  # fmt: skip
    except ZeroDivisionError:  # torch's, where the peak is the very first step
        assert rise * total == 1
        assert _schedule("one_cycle", total, rise=rise).factor(0) == 1
        return
    schedule = _schedule("one_cycle", total, rise=rise, start=start, final=share)
    for step in range(total):
        assert schedule.factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-7)
        optimizer.step()
        if step + 1 < total:
            scheduler.step()


@pytest.mark.parametrize(("total", "rise"), [(10, 0.1), (5, 0.2), (4, 0.25), (2, 0.5)])
def test_one_cycle_can_peak_at_its_first_step(total: int, rise: float) -> None:
    """Where torch's divides by zero."""
    factors = _factors(_schedule("one_cycle", total, rise=rise), total)
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize("name", schedules.names())
@given(steps_per_epoch=st.integers(1, 7), epochs=st.integers(1, 6), share=st.floats(0, 0.99))
@settings(max_examples=25, deadline=None)
def test_factors_are_shares_for_any_training_and_warm_up(
    name: str, steps_per_epoch: int, epochs: int, share: float
) -> None:
    """From 0 to 1 at every step, the rate never above the optimizer's own; also past the end."""
    total = steps_per_epoch * epochs
    warmup = math.floor(share * total) / steps_per_epoch
    factors = _factors(_schedule(name, total, steps_per_epoch, warmup_epochs=warmup), total + 3)
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    assert factors[0] > 0


@pytest.mark.parametrize(("name", "parameters"), [
    ("cosine", {"final": 0.1}), ("linear", {"final": 0.1}), ("one_cycle", {}),
])  # fmt: skip
def test_curves_span_the_steps_after_the_warm_up(name: str, parameters: dict[str, Any]) -> None:
    warmed = _factors(_schedule(name, 30, 5, warmup_epochs=2.0, **parameters), 30)
    alone = _factors(_schedule(name, 20, 5, **parameters), 20)
    assert warmed[10:] == pytest.approx(alone)
    assert warmed[:10] == pytest.approx([alone[0] * (step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize("name", ["step", "multistep", "plateau"])
def test_these_change_between_epochs_only(name: str) -> None:
    parameters = {"step": {"epochs": 2}, "plateau": {"patience": 0}}.get(name, {})
    schedule = _schedule(name, 30, 5, **parameters)
    rates = []
    for epoch in range(6):
        rates.append({schedule.factor(step) for step in range(5 * epoch, 5 * epoch + 5)})
        schedule.observe(1.0)
    assert all(len(epoch) == 1 for epoch in rates)
    assert len(set.union(*rates)) >= 3


def test_a_warm_up_of_part_of_an_epoch() -> None:
    schedule = _schedule("constant", 20, 10, warmup_epochs=0.4)
    assert _factors(schedule, 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_milestones_multiply_as_often_as_they_are_reached() -> None:
    schedule = _schedule("multistep", 8, milestones=[4, 2, 4], gamma=0.5)
    assert _factors(schedule, 6) == [1, 1, 0.5, 0.5, 0.125, 0.125]


@pytest.mark.slow
@given(
    values=st.lists(st.floats(0.01, 10), min_size=1, max_size=30), patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]), final=st.sampled_from([0.0, 0.05, 0.3]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_plateau_is_torchs_behind_a_warm_up_and_across_a_resume(
    values: list[float], patience: int, threshold: float, final: float
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torchs.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=threshold, min_lr=final, eps=0.0
    )
    options: dict[str, Any] = {
        "gamma": 0.5,
        "patience": patience,
        "threshold": threshold,
        "final": final,
    }
    total = len(values) + 2
    schedule = _schedule("plateau", total, **options, warmup_epochs=1.0)
    for value in values:
        resumed = _schedule("plateau", total, **options, warmup_epochs=1.0)
        resumed.load_state_dict(schedule.state_dict())
        schedule = resumed
        schedule.observe(value)
        scheduler.step(value)
        assert schedule.factor(1) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("name", schedules.names())
def test_state_is_plain(name: str) -> None:
    schedule = _schedule(name, 10)
    schedule.observe(1.0)
    assert all(type(value) in (int, float) for value in schedule.state_dict().values())


def test_a_warm_up_that_leaves_nothing_says_how_long_training_is() -> None:
    with pytest.raises(UserError, match="warmup_epochs 4: training has only 12 steps, 3 epochs"):
        _schedule("cosine", 12, 4, warmup_epochs=4.0)
