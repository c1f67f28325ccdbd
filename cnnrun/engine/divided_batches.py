"""Whether a batch may go through the model in parts, by processes or one after the other."""

from __future__ import annotations

from copy import copy
from itertools import permutations

import torch
from torch import Tensor

from cnnrun.engine.parts import Parts
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.torch_shortcuts import is_known_code

_IMAGES = 4
# Of a loss, what rounding may change.
_ROUNDING = 1e-5


def refuse_divided_batches(parts: Parts, processes: int) -> None:
    """Refuse to divide batches where an image's loss depends on the others, as contrastive ones do.

    A part of the batch has other losses than the whole, so something else would be trained. What
    cnnrun brings divides well; a user's own task, loss or model is tried.

    Raises:
        ConfigError: with the place of what compares images, and what divides them.
    """
    training = parts.experiment.training
    if processes == 1 and training.accumulate == 1 and not training.auto_batch:
        return
    own = {
        "task": type(parts.task).step,
        "loss": type(parts.loss).forward,
        "model": type(parts.model).forward,
    }
    users = [kind for kind, function in own.items() if not is_known_code(function)]
    if not users or not _compares_images(parts):
        return
    divides = f"{processes} processes, which divide each batch"
    remedy = "train it in one"
    if processes == 1:
        key = "accumulate" if training.accumulate > 1 else "auto_batch"
        divides, remedy = f"training.{key}, which divides batches", "leave that out"
    name = getattr(parts.experiment, users[0]).name
    message = (
        f"the loss of an image of {name} depends on the others of its batch; {divides}, would "
    )
    raise parts.experiment.error([users[0]], f"{message}train something else: {remedy}")


@torch.no_grad()
def _compares_images(parts: Parts) -> bool:
    """Whether the loss of two images is not the sum of their own.

    Two images in two places: exchanging the first changes the loss by an amount, which is another
    one with another second image only where the two are compared. Both have the draws of their
    place, whichever images they are.
    """
    split = parts.dataset.train
    if len(split) < _IMAGES:
        return False
    chosen = torch.linspace(0, len(split) - 1, _IMAGES).long()
    images = split.images[chosen].to(parts.device)
    targets = split.targets.held[chosen].to(parts.device)
    inputs, targets = parts.pipeline(images, targets, None)
    modes = [(module, module.training) for module in parts.model.modules()]
    parts.model.eval()
    try:
        with torch.random.fork_rng():
            pairs = {
                pair: _mean_loss(parts, inputs[list(pair)], targets[list(pair)])
                for pair in permutations(range(_IMAGES), 2)
            }
    except Exception:  # what fails here fails in the first step, too, and is explained there
        return False
    finally:
        for module, training in modes:
            module.training = training
    tolerance = _ROUNDING * max(map(abs, pairs.values()))
    return any(
        abs((pairs[a, c] - pairs[b, c]) - (pairs[a, d] - pairs[b, d])) > tolerance
        for a, b, c, d in permutations(range(_IMAGES))
    )


def _mean_loss(parts: Parts, inputs: Tensor, targets: Tensor) -> float:
    seed_default(parts.device, parts.experiment.seed, "trial")
    # A copy, as a step may count what it has seen.
    losses, _ = copy(parts.task).step(parts.model, parts.loss, inputs, targets)
    return float(losses.double().mean())
