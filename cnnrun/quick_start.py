"""Using torch's optimizers without importing its compiler, which takes 1.2 to 1.5 s of each run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


def leave_compiler_out() -> None:
    """Let `torch.optim.Optimizer` be used without the compiler that nothing here asks for.

    torch marks some of its methods as not to be compiled, and imports the compiler for that when
    one is first called. Each is told here that it has its mark. A torch without such marks stays as
    it is; a run with `training.compile` does not call this.
    """
    for method in vars(torch.optim.Optimizer).values():
        marked = getattr(method, "__wrapped__", None)
        if marked is not None and not hasattr(marked, "__dynamo_disable"):
            setattr(marked, "__dynamo_disable", marked)


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """`optimizer.step` without the profiler's and the compiler's wrappers around it."""
    step = inspect.unwrap(type(optimizer).step)

    def without_gradients() -> None:
        with torch.no_grad():
            step(optimizer)

    return without_gradients
