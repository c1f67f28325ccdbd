"""Which parts of an image matter: saliency, Grad-CAM, and the layer that Grad-CAM reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnrun.errors import UserError

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
_TOO_FEW = "the model has no convolution"


def saliency_maps(model: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """How strongly each pixel affects the score of its image's class.

    The absolute gradient of the class's output (before softmax) with respect to the normalized
    image, the greatest over the channels (Simonyan, Vedaldi, Zisserman 2014).

    inputs: (N, C, H, W) float32, normalized. classes: (N,) int64.
    Returns: (N, H, W) float32, not negative.
    """
    model.eval()
    inputs = inputs.detach().requires_grad_()
    scores = model(inputs).gather(1, classes[:, None])
    # Images are independent in eval mode: the sum's gradient is each one's own.
    (gradient,) = torch.autograd.grad(scores.sum(), inputs)
    return gradient.abs().amax(1)


def grad_cam_maps(model: nn.Module, layer: nn.Module, inputs: Tensor, classes: Tensor) -> Tensor:
    """Which regions support each image's class, in a layer's feature maps.

    Grad-CAM (Selvaraju et al. 2017) by captum: the layer's feature maps, weighted by the mean
    gradient of the class's output, summed, cut off below zero, and enlarged to the image.

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
    # A model with frozen layers has gradients only through its input.
    inputs = inputs.detach().requires_grad_()
    maps = LayerGradCam(model, layer).attribute(inputs, classes, relu_attributions=True)
    if maps.dim() != 4:
        raise UserError("layer: Grad-CAM needs one that gives feature maps, such as a convolution")
    size = tuple(inputs.shape[2:])
    enlarged: Tensor = LayerAttribution.interpolate(maps, size, interpolate_mode="bilinear")
    return enlarged[:, 0].detach()


@dataclass(frozen=True)
class _Maps:
    """A module's output (N, C, H, W), as it was when the module returned."""

    name: str
    module: nn.Module
    place: int
    size: tuple[int, ...]
    rectified: bool


@torch.no_grad()
def explained_layer(model: nn.Module, image: Tensor) -> str:
    """The layer whose feature maps Grad-CAM reads: the last ones after an activation.

    Before the activation a map also shows where something is absent, and the weighted sum is often
    negative everywhere. In a residual network it is the block, whose sum is rectified last. Pooled
    maps are coarser and left out; if no activation follows, the last maps are used.

    image: (1, C, H, W) float32, normalized.

    Raises:
        UserError: there are no feature maps, or a transformer works on them as tokens afterwards.
    """
    seen, calls, tokens = _feature_maps(model, image)
    if not seen:
        raise UserError(
            "Grad-CAM needs feature maps, and after the patches of this transformer there are none"
            if tokens
            else f"{_TOO_FEW}, so there are no feature maps for Grad-CAM"
        )
    learners = [k for k, maps in enumerate(seen) if any(p.dim() > 2 for p in _own(maps.module))]
    if not learners:
        raise UserError(f"{_TOO_FEW}, so there are no feature maps for Grad-CAM")
    last = learners[-1]
    same = [maps for maps in seen[last:] if maps.size == seen[last].size]
    final = next((maps for maps in reversed(same) if maps.rectified), same[-1])
    # Of modules that give the same tensor the innermost one, but none that is called twice.
    return next(
        maps.name
        for maps in same
        # The one before an activation in place has the same address.
        if (maps.place, maps.rectified) == (final.place, final.rectified)
        and (calls[maps.name] == 1 or maps is final)
    )


def _feature_maps(model: nn.Module, image: Tensor) -> tuple[list[_Maps], dict[str, int], bool]:
    """The maps of more than one pixel in order of computation.

    Returns: the maps, how often each module was called, and whether tokens came after maps.
    """
    seen: list[_Maps] = []
    calls: dict[str, int] = {}
    tokens = False
    kept = []  # so that no two outputs of the pass have the same address by chance

    def note(name: str, module: nn.Module, output: object) -> None:
        nonlocal tokens
        calls[name] = calls.get(name, 0) + 1
        kept.append(output)
        if not isinstance(output, Tensor):
            return
        if isinstance(module, nn.Linear) and output.dim() == 3:  # (N, tokens, features)
            tokens = True
            seen.clear()
        elif output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            rectified = isinstance(module, _ACTIVATIONS) or bool((output >= 0).all())
            size = tuple(output.shape[2:])
            seen.append(_Maps(name, module, output.data_ptr(), size, rectified))

    hooks = [
        module.register_forward_hook(
            lambda module, _inputs, output, name=name: note(name, module, output)
        )
        for name, module in model.named_modules()
        if name
    ]
    model.eval()
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, calls, tokens


def _own(module: nn.Module) -> list[nn.Parameter]:
    """The module's own parameters, without those of modules in it."""
    return list(module.parameters(recurse=False))
