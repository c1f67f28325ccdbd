"""Using torch's optimizers without importing its compiler, which takes 1.2 to 1.5 s of each run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

# Code known to work the same without its wrappers: torch's and cnnrun's.
_KNOWN_CODE = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[1]}{os.sep}")


def leave_compiler_out() -> None:
    """Let `torch.optim.Optimizer` work without importing the compiler, which is not needed.

    torch marks some of its methods as not to be compiled, and imports the compiler for that when
    one is first called. Here each is marked beforehand. A torch without such marks is left alone; a
    run with `training.compile` does not call this.
    """
    for method in vars(torch.optim.Optimizer).values():
        marked = getattr(method, "__wrapped__", None)
        if marked is not None and not hasattr(marked, "__dynamo_disable"):
            setattr(marked, "__dynamo_disable", marked)


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """`optimizer.step` without the profiler's and the compiler's wrappers around it.

    Only where there is nothing else: a foreign optimizer, one with hooks, or one whose `step` was
    replaced, is stepped as torch does it.
    """
    if not is_known_code(type(optimizer).step):
        return optimizer.step
    step = inspect.unwrap(type(optimizer).step)

    def without_wrappers() -> Any:
        if "step" in vars(optimizer) or _has_hooks(optimizer):
            return optimizer.step()
        with torch.no_grad():
            return step(optimizer)

    return without_wrappers


def bare_zero_grad(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """`optimizer.zero_grad` without its entry for a profiler, 3 % of a small network's step.

    A foreign `zero_grad` is called unchanged.
    """
    if not is_known_code(type(optimizer).zero_grad):
        return optimizer.zero_grad

    def without_profiler() -> Any:
        if "zero_grad" in vars(optimizer):
            return optimizer.zero_grad()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        return None

    return without_profiler


def is_known_code(function: Any) -> bool:
    """Whether a function, and all that it wraps (`functools.wraps`), is torch's or cnnrun's."""
    while hasattr(function, "__code__") and function.__code__.co_filename.startswith(_KNOWN_CODE):
        if not hasattr(function, "__wrapped__"):
            return True
        function = function.__wrapped__
    return False


def _has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this optimizer, or all, have step hooks."""
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )


def bare_backward(values: Tensor, gradient: Tensor) -> None:
    """`values.backward(gradient)`; its check that shapes agree would import the compiler, in 0.3 s.

    It saves 6 % of a small network's step with batches of 20, compared with
    `values.mean().backward()`. Tensor subclasses may have a `backward` of their own.
    """
    if type(values) is not Tensor:
        values.backward(gradient)  # type: ignore[no-untyped-call]
        return
    engine = torch.autograd.Variable._execution_engine  # what `backward` calls after its checks
    engine.run_backward(
        (values,), (gradient,), False, False, (), allow_unreachable=True, accumulate_grad=True
    )
