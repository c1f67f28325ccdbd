"""Progressive resizing: small images first, which cost less, then full-size ones (Howard 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnrun.config.experiment import Training
from cnnrun.engine.parts import Parts


def progressive(inputs: Tensor, options: Training, epoch: int) -> Tensor:
    """The inputs (N, C, H, W) at the size of `epoch` (from 0), averaged down where it is smaller.

    The network must accept images of any size: with pooling before its head, not flattening.
    """
    share = size_factor(options, epoch)
    if share == 1:
        return inputs
    height, width = (max(1, round(side * share)) for side in inputs.shape[2:])
    return F.interpolate(inputs, (height, width), mode="bilinear", antialias=True)


@torch.no_grad()
def check_sizes(parts: Parts) -> None:
    """Refuse a model that can't process the smallest images.

    Raises:
        ConfigError: with the place of `progressive_from`.
    """
    options = parts.experiment.training
    if options.progressive_from == 1:
        return
    if parts.task.targets == "masks":
        raise parts.experiment.error(
            ["training", "progressive_from"], "masks keep their size; leave it at 1"
        )
    image = torch.zeros(1, *parts.dataset.input_shape, device=parts.device)
    training = parts.model.training
    try:
        parts.model.eval()(progressive(image, options, 0))
    except RuntimeError as error:
        raise parts.experiment.error(
            ["training", "progressive_from"],
            "the model takes images of one size only; give it an average before its head "
            "(head_pooling: average)",
        ) from error
    finally:
        parts.model.train(training)


def size_factor(options: Training, epoch: int) -> float:
    """The images' height and width in `epoch`, as a fraction that rises linearly to 1."""
    grown = epoch / (options.progressive_until * options.epochs)
    return min(1.0, options.progressive_from + (1 - options.progressive_from) * grown)
