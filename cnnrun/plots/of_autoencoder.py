"""Plots of an autoencoder: what comes back, the plane of codes, and walks through it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from cnnrun.components.image_metrics import psnr
from cnnrun.data.dataset import Split
from cnnrun.data.pixel_targets import PixelPipeline
from cnnrun.errors import UserError
from cnnrun.metrics import MSE, PSNR
from cnnrun.plots.drawing.embedding import Method, draw_embedding, to_plane
from cnnrun.plots.drawing.image_rows import draw_rows, draw_square
from cnnrun.plots.drawing.lettering import left_to_right, percent
from cnnrun.plots.of_data import SplitName
from cnnrun.plots.style import Figure
from cnnrun.plots.target import Target
from cnnrun.registry import plots
from cnnrun.runtime.randomness import derive_seed

_IN_ONE_BATCH = 500

Some = Annotated[int, Field(ge=1, le=24)]


@plots.register("reconstructions")
def reconstructions(target: Target, *, count: Some = 12) -> Figure:
    """Test images (noisy ones for a denoising task) and their reconstructions.

    count: Number of test images.
    """
    chosen = _drawn(target, count)
    clean, noisy, back = _through(target, chosen)
    quality = psnr((back - clean).square().flatten(1).mean(1))
    titles = [PSNR.text(value) for value in quality.tolist()]
    size = f"{clean[0].numel():,} values per image, {_code_size(target)} in its code"
    rows = _rows(target, clean, noisy, back)
    below = f"{PSNR.display_name} above each image"
    return draw_rows(rows, titles, f"Reconstructions of test images: {size}", below)


@plots.register("outliers")
def outliers(target: Target, *, count: Some = 12, split: SplitName = "test") -> Figure:
    """The images with the largest reconstruction errors, worst first, with the results.

    count: Number of images, worst first.
    split: Split that the images are from.
    """
    _pipeline(target)
    data, errors = target.split(split), target.predictions(split).answers["mse"]
    worst = np.argsort(-errors, kind="stable")[:count]
    chosen = data.take(torch.from_numpy(worst))
    titles = [
        f"{data.caption(i)}\n{target.classes[label]}\n{MSE.text(float(errors[i]))}"
        for i, label in zip(worst.tolist(), chosen.labels.tolist(), strict=True)
    ]
    return draw_rows(
        _rows(target, *_through(target, chosen)),
        titles,
        f"The {len(worst)} worst reconstructions of {len(errors):,} {split} images",
        f"{MSE.display_name} above each image; the median of all is "
        f"{MSE.text(float(np.median(errors)))}",
    )


@plots.register("latent")
def latent(
    target: Target, *, count: Annotated[int, Field(ge=3, le=20_000)] = 1000, method: Method = "pca"
) -> Figure:
    """The codes of test images: two numbers directly, longer codes by PCA or t-SNE.

    count: Number of test images.
    method: How codes of more than two numbers are brought to a plane.
    """
    chosen = _drawn(target, count)
    codes = _encoded(target, chosen)
    title = f"Codes of {len(codes):,} test images"
    if codes.shape[1] == 2:
        names = ["code, dimension 1", "code, dimension 2"]
        return draw_embedding(codes, chosen.labels.numpy(), target.classes, names, title)
    if codes.shape[1] < 2 or len(codes) < 3:
        raise UserError("this plot needs codes of at least 2 numbers, and at least 3 test images")
    seed = derive_seed(target.parts.experiment.seed, "embeddings") % 2**32
    points, names = to_plane(codes, method, seed)
    title += f" ({codes.shape[1]} numbers, by {'PCA' if method == 'pca' else 't-SNE'})"
    return draw_embedding(points, chosen.labels.numpy(), target.classes, names, title)


@plots.register("walks")
def walks(
    target: Target,
    *,
    count: Annotated[int, Field(ge=1, le=12)] = 6,
    steps: Annotated[int, Field(ge=3, le=15)] = 9,
) -> Figure:
    """Interpolation between the codes of two test images, decoded at every step.

    count: Number of walks.
    steps: Steps of a walk.
    """
    chosen = _drawn(target, 2 * count)
    pairs = len(chosen) // 2
    if not pairs:
        raise UserError("this plot needs at least 2 test images")
    codes = torch.from_numpy(_encoded(target, chosen))
    shares = torch.linspace(0, 1, steps)[:, None]
    rows = []
    for k in range(pairs):
        start, end = codes[2 * k], codes[2 * k + 1]
        first, last = (target.classes[int(chosen.labels[2 * k + i])] for i in (0, 1))
        rows.append(
            (
                left_to_right(first, " to ", last),
                _array(_decoded(target, start + shares * (end - start))),
            )
        )
    titles = [percent(share) for share in shares.flatten().tolist()]
    return draw_rows(rows, titles, "Interpolation between the codes of two test images")


@plots.register("decoded_grid")
def decoded_grid(target: Target, *, side: Annotated[int, Field(ge=2, le=40)] = 15) -> Figure:
    """Codes of two numbers decoded on a grid over the region of the test images' codes.

    side: Codes along each side of the grid.
    """
    codes = _encoded(target, _drawn(target, 2000))
    if codes.shape[1] != 2:
        raise UserError(
            f"decoded_grid needs codes of 2 numbers (model.code=2), not {codes.shape[1]}"
        )
    low, high = np.percentile(codes, [2, 98], axis=0)
    x, y = (np.linspace(low[i], high[i], side) for i in (0, 1))
    points = np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2).astype(np.float32)
    images = _array(_decoded(target, torch.from_numpy(points)))
    return draw_square(images, x.tolist(), y.tolist(), "Images decoded from a grid of codes")


def _pipeline(target: Target) -> PixelPipeline:
    """The pipeline of an autoencoder.

    Raises:
        UserError: the target is none.
    """
    pipeline = target.parts.pipeline
    if not isinstance(pipeline, PixelPipeline) or not hasattr(target.parts.model, "encode"):
        raise UserError(f"{target.path}: this plot needs an autoencoder (task: reconstruct)")
    return pipeline


def _drawn(target: Target, count: int) -> Split:
    """At most `count` test images, drawn by the experiment's seed."""
    _pipeline(target)
    data = target.split("test")
    seed = derive_seed(target.parts.experiment.seed, "viz")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.take(order[:count])


def _rows(
    target: Target, clean: Tensor, noisy: Tensor, back: Tensor
) -> list[tuple[str, NDArray[np.float32]]]:
    """What goes in and comes back, each with its name; where there is noise, also the input."""
    rows = [("original", _array(clean))]
    if _pipeline(target).noise:
        rows.append(("noisy input", _array(noisy)))
    return [*rows, ("reconstruction", _array(back))]


@torch.no_grad()
def _through(target: Target, chosen: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Clean images, the model's inputs before normalization, and what comes back: 0..1."""
    pipeline, parts = _pipeline(target), target.parts
    images = chosen.images[torch.arange(len(chosen))].to(parts.device)
    clean, noisy = pipeline.pixels(images, chosen.labels.to(parts.device), None)
    back = parts.model.eval()(pipeline.normalize(noisy)).pixels
    return clean.cpu(), noisy.cpu(), back.float().clamp(0, 1).cpu()


@torch.no_grad()
def _encoded(target: Target, chosen: Split) -> NDArray[np.float32]:
    """Codes (N, D) of images, without noise."""
    parts = target.parts
    parts.model.eval()
    codes = []
    for some in torch.split(torch.arange(len(chosen)), _IN_ONE_BATCH):
        inputs = parts.pipeline.normalize(chosen.images[some].to(parts.device))
        codes.append(parts.model.encode(inputs).float().cpu())  # type: ignore[operator]
    return torch.cat(codes).numpy()


@torch.no_grad()
def _decoded(target: Target, codes: Tensor) -> Tensor:
    """Images (N, C, H, W) in 0..1 of codes (N, D)."""
    model = target.parts.model.eval()
    images: Tensor = model.decode(codes.to(target.parts.device))  # type: ignore[operator]
    return images.float().clamp(0, 1).cpu()


def _code_size(target: Target) -> int:
    return int(_encoded(target, target.split("test").take(torch.arange(1))).shape[1])


def _array(images: Tensor) -> NDArray[np.float32]:
    return images.numpy()
