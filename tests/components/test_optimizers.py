"""Optimizers: fused where that is possible, the same rates for every group."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from cnnrun.errors import UserError
from cnnrun.registry import optimizers


def _built(name: str, parameters: list[Any], **options: Any) -> torch.optim.Optimizer:
    config = optimizers.get(name).schema()(**options)
    built: torch.optim.Optimizer = optimizers.build(config, parameters=parameters)
    return built


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_one_kernel_steps_all_where_torch_has_one_for_them(name: str) -> None:
    real = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))]
    assert _built(name, real).defaults["fused"]
    assert _built(name, [{"params": real[:1]}, {"params": real[1:]}]).defaults["fused"]
    for odd in (torch.zeros(2, dtype=torch.complex64), torch.zeros(2, device="meta")):
        assert not _built(name, [*real, nn.Parameter(odd)]).defaults["fused"]


@pytest.mark.parametrize("name", [name for name in optimizers.names() if name != "lbfgs"])
def test_groups_keep_their_own_rate_and_all_learn(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    first, second = (list(layer.parameters()) for layer in model)
    optimizer = _built(name, [{"params": first, "lr": 1e-4}, {"params": second}], lr=1e-2)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-2]
    before = [p.clone() for p in model.parameters()]
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_one_rate_for_all_is_what_lbfgs_knows() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": 0.1} for _ in range(2)]
    with pytest.raises(UserError, match="lbfgs has one rate for all"):
        _built("lbfgs", groups)


@pytest.mark.parametrize("name", optimizers.names())
def test_a_resumed_optimizer_goes_on_to_the_same_bits(name: str) -> None:
    def steps(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, count: int) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = (parameter.sin() * torch.arange(1.0, 5)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        for _ in range(count):
            optimizer.step(closure)  # type: ignore[arg-type]  # lbfgs looks more than once

    options = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    whole, stopped = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    steps(whole, _built(name, [whole], **options), 6)
    first = _built(name, [stopped], **options)
    steps(stopped, first, 3)
    second = _built(name, [stopped], **options)
    second.load_state_dict(first.state_dict())
    steps(stopped, second, 3)
    assert torch.equal(whole, stopped)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(name, {"lr": lr}) for name in optimizers.names() for lr in (0.0, -0.1)],
        *[(name, {"weight_decay": -1.0}) for name in optimizers.names()],
        ("sgd", {"momentum": 1.0}),
        ("adam", {"beta2": 1.0}),
        ("adamw", {"eps": 0.0}),
    ],
)
def test_numbers_out_of_range_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        optimizers.get(name).schema()(**options)


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_step_that_16_bits_skip_changes_nothing(decoupled: bool) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = _built("sgd", [weight], lr=0.1, weight_decay=0.5, decoupled=decoupled)
    scaler = torch.amp.GradScaler("cpu")
    for factor in (float("inf"), 1.0):
        before = weight.detach().clone()
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(weight, before) == (factor != 1)
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.1 * (0.5 + 1)))
