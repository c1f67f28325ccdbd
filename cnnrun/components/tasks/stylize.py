"""Style transfer: the pixels of one image are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.task import Task
from cnnrun.data.dataset import Dataset
from cnnrun.errors import UserError
from cnnrun.metrics import CONTENT, LOSS, SMOOTHNESS, STYLE
from cnnrun.registry import tasks


@tasks.register("stylize")
class Stylize(Task):
    """Repaint one image (the content) in the style of others (Gatys, Ecker, Bethge 2016)."""

    defaults: ClassVar[dict[str, Any]] = {
        "model": "image",
        "optimizer": "lbfgs",
        # One image is one batch, and no split is held out.
        "dataset": {"batch_size": 1, "validation": 0},
        # L-BFGS flattens the pixels in memory order.
        "training": {"channels_last": False},
    }
    epoch_metrics = ("loss", "content", "style", "smoothness")
    metrics = (LOSS, CONTENT, STYLE, SMOOTHNESS)
    higher_is_better: ClassVar[dict[str, bool]] = dict.fromkeys(epoch_metrics, False)
    plots = ("curves", "style")
    targets = "pixels"
    predicts = False
    output = "pixels 0..1, code"

    def check(self, model: nn.Module, loss: nn.Module) -> None:
        """See `Task.check`: the model's pixels are trained, and the loss has named parts."""
        if not hasattr(model, "enter"):
            raise UserError("task stylize trains an image: leave `model` out, or use `image`")
        if not hasattr(loss, "parts"):
            raise UserError("task stylize needs the loss neural_style")
        smallest = model.levels[0].shape[2:]  # type: ignore[index]
        loss.check_size(tuple(smallest))  # type: ignore[operator]

    def check_epochs(self, model: nn.Module, epochs: int) -> None:
        """See `Task.check_epochs`: each size of the image needs at least one."""
        stages = len(model.levels)  # type: ignore[arg-type]
        if epochs < stages:
            raise UserError(
                f"{epochs} can't go through the {stages} sizes of the image, the last of which "
                f"is the full size; use {stages} or more, or fewer model.stages"
            )

    def start_epoch(self, model: nn.Module, dataset: Dataset, epoch: int, epochs: int) -> bool:
        """See `Task.start_epoch`; the epochs are shared evenly between the sizes of the image."""
        image: Any = model
        content = dataset.train.images[torch.arange(1)].float() / 255
        stages = len(image.levels)
        stage = min(epoch * stages // epochs, stages - 1)
        return bool(image.enter(stage, content.to(image.content.device)))

    def loss_since(self, model: nn.Module, epochs: int) -> int:
        """See `Task.loss_since`: the first epoch at the last size, as losses depend on the size."""
        stages = len(model.levels)  # type: ignore[arg-type]
        return -(-(stages - 1) * epochs // stages) + 1

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are the three parts of the loss, (N, 3).

        All samples of a batch are the same image.
        """
        parts = loss.parts(model(inputs), targets)  # type: ignore[operator]
        return parts.sum().expand(len(inputs)), parts.detach().expand(len(inputs), 3)

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.sums`."""
        return torch.stack((exact_sum(losses), *(exact_sum(part) for part in outputs.T)))

    @torch.no_grad()
    def end_epoch(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """See `Task.end_epoch`: `result.png`, and the same as an image of the progress."""
        from PIL import Image

        model.eval()
        pixels = model(model.content)[0].mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        image = Image.fromarray(pixels)
        progress = folder / "progress"
        progress.mkdir(parents=True, exist_ok=True)
        image.save(progress / f"epoch_{epoch:04}.png")
        image.save(folder / "result.png")
