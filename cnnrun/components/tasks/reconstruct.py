"""Reconstruction: an image through a short code and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cnnrun.components.image_metrics import psnr, ssim
from cnnrun.components.tasks.exact_sums import exact_sum
from cnnrun.components.tasks.loss_contract import per_sample
from cnnrun.components.tasks.task import Predictions, Task
from cnnrun.data.pixel_targets import Noise
from cnnrun.errors import UserError
from cnnrun.metrics import LOSS, MSE, PSNR, SSIM
from cnnrun.registry import tasks
from cnnrun.runtime.text_table import columns

Fraction = Annotated[float, Field(ge=0, le=1)]


@tasks.register("reconstruct")
class Reconstruct(Task):
    """Compress an image to a short code and decode it (autoencoders); scored by squared error."""

    defaults: ClassVar[dict[str, Any]] = {"loss": "mse"}
    epoch_metrics = ("loss", "mse")
    metrics = (LOSS, MSE, PSNR, SSIM)
    # The pixels' error ranks runs, whatever their losses are.
    main_metric = "mse"
    higher_is_better: ClassVar[dict[str, bool]] = {"loss": False, "mse": False}
    headline = ("mse", "psnr", "ssim", "loss")
    plots = ("samples", "curves", "reconstructions", "latent", "walks")
    targets = "pixels"
    predicts = False
    output = "pixels 0..1, code"

    def __init__(
        self,
        *,
        noise: Fraction = 0.0,
        noise_kind: Literal["gaussian", "masking"] = "gaussian",
        probe_labels: Annotated[int, Field(ge=2)] = 100,
        probe_seeds: Annotated[int, Field(ge=1)] = 5,
    ) -> None:
        """noise: Noise in the inputs only, which makes a denoising autoencoder (Vincent et al.
            2008).
        noise_kind: `gaussian` of that standard deviation (pixels are 0..1), or `masking` of that
            fraction of the pixels.
        probe_labels: Labelled images that train each classifier by which `cnnrun eval` judges the
            code.
        probe_seeds: Draws of labelled images over which `cnnrun eval` takes the mean.
        """
        self.noise = Noise(noise_kind, noise) if noise else None
        self.probe_labels, self.probe_seeds = probe_labels, probe_seeds

    def check(self, model: nn.Module, loss: nn.Module) -> None:
        """See `Task.check`: the model must encode and decode, the loss compare images."""
        if not (hasattr(model, "encode") and hasattr(model, "decode")):
            raise UserError(
                "task reconstruct needs an autoencoder, e.g. conv_autoencoder, "
                "linear_autoencoder or vae (or your own with `encode` and `decode`)"
            )
        image = torch.full((1, 1, 8, 8), 0.5, device=_device_of(model))
        message = "the loss can't compare images; mse, l1, bce and ssim can"
        try:
            compared = loss(image, image)
        except Exception as error:
            raise UserError(f"{message} ({error})") from error
        if compared.numel() != 1:
            raise UserError(message)

    def step(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Task.step`; the outputs are squared errors (N,) of pixels in 0..1."""
        losses, squared, _ = self._compare(model, loss, inputs, targets)
        return losses, squared

    def sums(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.sums`."""
        return torch.stack((exact_sum(losses), exact_sum(outputs)))

    def answers(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """`codes` (N, D), and (N,): `losses`, `mse`, `psnr` (dB), `ssim`."""
        losses, squared, (pixels, codes, _) = self._compare(model, loss, inputs, targets)
        return {
            "codes": codes,
            "losses": losses,
            "mse": squared,
            "psnr": psnr(squared),
            "ssim": ssim(pixels.clamp(0, 1).float(), targets),
        }

    def answers_alone(self, model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
        """See `Task.answers_alone`: `images` (N, C, H, W) in 0..1, and `codes` (N, D).

        No noise is added: a denoising network is given the images themselves.
        """
        pixels, codes, _ = model(inputs)
        return {"images": pixels.float().clamp(0, 1), "codes": codes.float()}

    def _compare(
        self, model: nn.Module, loss: nn.Module, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        reconstruction = model(inputs)
        losses = per_sample(loss(reconstruction.pixels, targets), len(inputs))
        if reconstruction.penalty is not None:
            losses = losses + reconstruction.penalty
        with torch.no_grad():
            squared = (reconstruction.pixels.float() - targets).square().flatten(1).mean(1)
        return losses, squared, reconstruction

    def scores(self, predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
        """Means over all samples and per class; None for a class without samples."""
        answers, labels = predictions.answers, predictions.labels

        def means(chosen: Any) -> dict[str, float | None]:
            return {
                name: float(answers[name][chosen].mean(dtype=np.float64)) if chosen.any() else None
                for name in ("mse", "psnr", "ssim")
            }

        everyone = np.ones(len(labels), dtype=bool)
        return {
            "samples": len(labels),
            "loss": float(answers["losses"].mean(dtype=np.float64)),
            **means(everyone),
            "code": answers["codes"].shape[1],
            "per_class": [
                {"class": name, **means(labels == k), "support": int((labels == k).sum())}
                for k, name in enumerate(classes)
            ],
        }

    def to_text(self, scores: dict[str, Any]) -> str:
        names = ("mse", "psnr", "ssim")
        head = ["class", "squared error", "PSNR", "SSIM", "images"]
        rows = [
            [row["class"], *(self.metric(n).text(row[n]) for n in names), f"{row['support']:,}"]
            for row in scores["per_class"]
        ]
        return "\n".join(
            [
                self.lines_of(scores, self.headline),
                f"code  {scores['code']:,} numbers per image, pixels are 0..1",
                "",
                *columns([head, *rows], right=(1, 2, 3, 4), names=(0,)),
            ]
        )


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
