"""Where in a picture an answer comes from: saliency and Grad-CAM, computed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnrun.errors import UserError
from cnnrun.plots.drawing.images import Images
from cnnrun.plots.drawing.lettering import clean, line_height, shorten
from cnnrun.plots.drawing.sheet import MAX_CAPTION, SPACE, Captions, Tiles, fit_pixels, show_image
from cnnrun.plots.style import (
    INK,
    MARGIN,
    MUTED,
    RIGHT_TEXT,
    SMALL,
    TEXT,
    WRONG_TEXT,
    Figure,
    matplotlib,
    styled,
)

_PICTURE, _BETWEEN = 112, 4
"""Pixels of a picture's longest side, and between the three pictures of a tile."""

_COLOURS = "inferno"
"""From black to light yellow with steadily rising lightness: no hue needs to be told apart."""


def saliency_maps(model: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """How strongly each pixel moves the score of its picture's class.

    The absolute gradient of the class's output (before softmax) with respect to the normalized
    picture, the greatest over the channels (Simonyan, Vedaldi, Zisserman 2014).

    inputs: (N, C, H, W) float32, normalized. classes: (N,) int64.
    Returns: (N, H, W) float32, not negative.
    """
    model.eval()
    inputs = inputs.detach().requires_grad_()
    scores = model(inputs).gather(1, classes[:, None])
    # Pictures don't see one another in eval mode: the sum's gradient is each one's own.
    (gradient,) = torch.autograd.grad(scores.sum(), inputs)
    return gradient.abs().amax(1)


def grad_cam_maps(model: nn.Module, layer: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """Which regions speak for each picture's class, as a layer sees them.

    Grad-CAM (Selvaraju et al. 2017) by captum: the layer's feature maps, weighted by the mean
    gradient of the class's output, summed, cut off below zero, and enlarged to the picture.

    inputs: (N, C, H, W) float32, normalized. classes: (N,) int64.
    Returns: (N, H, W) float32, not negative.

    Raises:
        UserError: captum is not installed, or the layer gives no feature maps.
    """
    try:
        from captum.attr import LayerAttribution, LayerGradCam
    except ImportError:
        raise UserError("gradcam needs captum: pip install 'cnnrun[captum]'") from None
    model.eval()
    # A model whose layers are frozen has gradients only through its input.
    inputs = inputs.detach().requires_grad_()
    maps = LayerGradCam(model, layer).attribute(inputs, classes, relu_attributions=True)
    if maps.dim() != 4:
        raise UserError("layer: Grad-CAM needs one that gives feature maps, such as a convolution")
    size = tuple(inputs.shape[2:])
    enlarged: Tensor = LayerAttribution.interpolate(maps, size, interpolate_mode="bilinear")
    return enlarged[:, 0].detach()


@styled
def draw_attributions(
    images: Images,
    maps: NDArray[np.floating[Any]],
    true_names: Sequence[str] | None,
    predicted_names: Sequence[str],
    confidences: Sequence[float],
    title: str,
) -> Figure:
    """Each image beside its map and the map laid over it, with what the model answered.

    `images` (N, C, H, W) float 0..1, `maps` (N, H, W) not negative; the rest N values each,
    `confidences` in 0..1, `true_names` None where nobody knows them. Each map is drawn from zero to
    its own greatest value.
    """
    height, width = fit_pixels(images.shape[2:], _PICTURE)
    tiles = Tiles(
        len(images),
        (height, 3 * width + 2 * _BETWEEN),
        title,
        above=Captions(_true_lines(true_names, len(images))),
        footer=line_height(SMALL) + 8,
        narrowest=620,
    )
    for index, (image, values) in enumerate(zip(images, maps, strict=True)):
        left, top = tiles.corner(index)
        colour = INK
        if true_names is not None:
            right = predicted_names[index] == true_names[index]
            colour = RIGHT_TEXT if right else WRONG_TEXT
        answer = f"predicted, {100 * confidences[index]:.0f} %: {clean(predicted_names[index])}"
        tiles.sheet.write(
            left + tiles.size[1] / 2,
            top - SPACE - 0.25 * line_height(TEXT),
            shorten(answer, max(tiles.size[1], MAX_CAPTION)),
            color=colour,
            ha="center",
        )
        share = np.nan_to_num(values / max(float(values.max()), np.finfo(np.float32).tiny))
        step = width + _BETWEEN
        show_image(tiles.sheet, image, left, top, (height, width))
        heat = {"cmap": _COLOURS, "vmin": 0, "vmax": 1}
        tiles.sheet.picture(share, left + step, top, (height, width), **heat)
        tiles.sheet.picture(overlay(image, share), left + 2 * step, top, (height, width))
    text = "image, map, both; each map from 0 (black) to its own greatest value (light yellow)"
    tiles.sheet.write(MARGIN, tiles.bottom + 8, text, size=SMALL, color=MUTED)
    return tiles.figure


def _true_lines(names: Sequence[str] | None, count: int) -> list[str]:
    """Captions that leave their last line to the answers."""
    return [""] * count if names is None else [f"true: {clean(name)}\n" for name in names]


def overlay(
    image: NDArray[np.floating[Any]], share: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """`image` (C, H, W) in gray, hidden by the colours of `share` (H, W) where that is high.

    Returns: (H, W, 3) float 0..1.
    """
    # Gray, so that every colour that is seen is the map's; dimmed, so that yellow shows on white.
    gray = 0.7 * image.mean(0)[:, :, None]
    colours = matplotlib.colormaps[_COLOURS](share)[:, :, :3]
    weight = 0.85 * share[:, :, None]
    mixed: NDArray[np.floating[Any]] = np.clip((1 - weight) * gray + weight * colours, 0, 1)
    return mixed
