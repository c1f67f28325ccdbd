"""The optimizer's state in a checkpoint is held against its parameters before a step uses it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.engine.optimizer_state import check_optimizer_state
from cnnrun.errors import UserError
from tests.conftest import Command

KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "adam": {},
    "adamw": {},
    "rmsprop": {"momentum": 0.9, "centered": True},
    "adagrad": {},
    **{name: {} for name in ("nadam", "radam", "lion", "lamb", "torch/Adadelta", "torch/ASGD")},
    **{name: {} for name in ("torch/Adamax", "torch/Rprop")},
}


def _stepped(kind: str, options: dict[str, Any]) -> torch.optim.Optimizer:
    model = nn.Linear(30, 20)
    entry = registry.optimizers.get(kind)
    optimizer: torch.optim.Optimizer = entry.factory(parameters=list(model.parameters()), **options)
    model(torch.ones(2, 30)).sum().backward()
    optimizer.step()
    return optimizer


def _moment(change: Callable[[Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    """Changes the last moment of the first parameter."""

    def apply(state: dict[str, Any]) -> None:
        moments = [k for k, v in state["state"][0].items() if k != "step" and v is not None]
        state["state"][0][moments[-1]] = change(state["state"][0][moments[-1]])

    return apply


def _step(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state["state"][0].update(step=value)


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a short moment": _moment(lambda m: m.flatten()[:1].clone()),
    "a moment without size": _moment(lambda _: torch.zeros(())),
    "a long moment": _moment(lambda m: torch.cat([m, m])),
    "a moment laid out otherwise": _moment(lambda m: m.reshape(30, 20)),
    "an empty moment": _moment(lambda _: torch.zeros(0)),
    "a sparse moment": _moment(lambda m: m.to_sparse()),
    "a complex moment": _moment(lambda m: m.to(torch.complex64)),
    "a moment of whole numbers": _moment(lambda m: m.to(torch.int8)),
    "no moment": lambda state: state["state"][0].clear(),
    "a list": lambda state: state["state"].update({0: [1, 2]}),
    "steps of many": _step(torch.ones(600)),
    "steps of no number": _step(float("nan")),
    "negative steps": _step(torch.tensor(-5.0)),
    "steps in words": _step("x"),
    "another group": lambda state: state["param_groups"].append({"params": []}),
    "fewer parameters": lambda state: state["param_groups"][0]["params"].pop(),
    "groups of nothing": lambda state: state.update(param_groups=None),
    "no state": lambda state: state.pop("state"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_state_passes(kind: str) -> None:
    optimizer = _stepped(kind, KINDS[kind])
    check_optimizer_state(optimizer, optimizer.state_dict())
    fresh = registry.optimizers.get(kind).factory(parameters=[torch.zeros(2, requires_grad=True)])
    check_optimizer_state(fresh, fresh.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_another_state_is_refused(kind: str, damage: str) -> None:
    optimizer = _stepped(kind, KINDS[kind])
    state = copy.deepcopy(optimizer.state_dict())
    DAMAGES[damage](state)
    with pytest.raises(UserError, match="state of the optimizer is not of this experiment"):
        check_optimizer_state(optimizer, state)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_run_does_not_go_on_with_it(cnnrun: Command, tiny: Path, kind: str) -> None:
    change = f"optimizer={{name: {kind}{', momentum: 0.9' if kind == 'sgd' else ''}}}"
    run = Path(cnnrun("train", tiny, "-q", change, "training.epochs=1").out.strip())
    file = run / "checkpoints" / "last.pt"
    checkpoint = torch.load(file, weights_only=True)
    DAMAGES["a short moment"](checkpoint["optimizer"])
    torch.save(checkpoint, file)
    (run / "summary.json").unlink()
    ended = cnnrun("train", "--resume", run, "training.epochs=3", "-q")
    assert ended.code == 1
    assert "of parameter 0 is (1,) instead of (32, 64)" in ended.err
