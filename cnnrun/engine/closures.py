"""Optimizers that evaluate the loss themselves, several times a step, as L-BFGS does."""

from __future__ import annotations

import inspect

import torch

from cnnrun import registry
from cnnrun.config.experiment import Experiment


def needs_closure(optimizer: torch.optim.Optimizer, experiment: Experiment, processes: int) -> bool:
    """Whether `step` needs a function that evaluates the loss.

    Raises:
        UserError: it needs something else, or the experiment has settings that don't work with it.
    """
    wanted = required_arguments(optimizer)
    if wanted and wanted != ["closure"]:
        entry = registry.optimizers.get(experiment.optimizer.name)
        named = ", ".join(wanted)
        raise entry.mistake(f"has a `step({named})`; step() and step(closure) can be called")
    if wanted:
        _refuse_beside_closure(experiment, processes)
    return bool(wanted)


def required_arguments(optimizer: torch.optim.Optimizer) -> list[str]:
    """The parameters of `step` that have no default."""
    given = inspect.signature(optimizer.step).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in given if p.default is p.empty and p.kind not in several]


def _refuse_beside_closure(experiment: Experiment, processes: int) -> None:
    training = experiment.training
    refused = {
        ("optimizer",): (processes > 1, "which several processes can't do together"),
        ("training", "amp"): (training.amp == "fp16", "at the scale of fp16 it can't; use bf16"),
        ("training", "clip_norm"): (
            training.clip_norm is not None,
            "and goes by the gradients as they are; leave clip_norm out",
        ),
        ("training", "on_nan"): (
            training.on_nan == "skip",
            "and such a step can't be taken back; use stop",
        ),
        ("training", "auto_batch"): (
            training.auto_batch,
            "and such a step can't be taken back; set training.accumulate",
        ),
    }
    for path, (asked, why) in refused.items():
        if asked:
            name = experiment.optimizer.name
            raise experiment.error(path, f"{name} evaluates the loss several times a step, {why}")
