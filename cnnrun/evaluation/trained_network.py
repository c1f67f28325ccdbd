"""A trained network as part of another training, e.g. the teacher in distillation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from cnnrun.data.dataset import Dataset
from cnnrun.errors import UserError
from cnnrun.evaluation.loading import open_trained
from cnnrun.runtime.paths import expanded


class TrainedNetwork(nn.Module):
    """The network of a run, in eval mode and frozen, with its own normalization."""

    def __init__(self, target: Path, plugins: Iterable[str] = ()) -> None:
        super().__init__()
        _, parts, checkpoint = open_trained(target, plugins, device="cpu")
        self.classes, self.input_shape = tuple(checkpoint.classes), tuple(checkpoint.input_shape)
        self.network = parts.model.requires_grad_(requires_grad=False)
        self.register_buffer("mean", parts.pipeline.mean)
        self.register_buffer("std", parts.pipeline.std)
        self.eval()

    mean: Tensor
    std: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, C, H, W) float32 in 0..1 to the network's output, on their device."""
        if self.mean.device != pixels.device:
            self.to(pixels.device)
        outputs: Tensor = self.network((pixels - self.mean) / self.std)
        return outputs


def trained_network(
    run: str | Path, dataset: Dataset, plugins: Iterable[str] = ()
) -> TrainedNetwork:
    """The network of a run (its best checkpoint) or of a checkpoint file, for images of `dataset`.

    plugins: those that it was trained with.

    Raises:
        UserError: there is none, or it was trained for images of another size or other classes.
    """
    found = TrainedNetwork(expanded(run), plugins)
    if found.input_shape != dataset.input_shape:
        given, wanted = (" x ".join(map(str, s)) for s in (found.input_shape, dataset.input_shape))
        raise UserError(f"{run}: was trained on images of {given}; these are of {wanted}")
    if found.classes != dataset.classes:
        raise UserError(f"{run}: was trained for other classes than these data have")
    return found
