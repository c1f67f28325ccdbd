"""A trained network as a file for other programs, verified against the network.

    onnx           for onnxruntime and others; any number of images at a time
    torch-export   a `.pt2` file for `torch.export.load`, likewise
    torchscript    for `torch.jit.load` and libtorch (C++)
    safetensors    the weights alone

Class names and normalization are included: in ONNX as metadata, in torch's files as an extra file
`cnnrun.json`, in safetensors as metadata.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.export_formats import FORMATS, Runner, as_arrays
from cnnrun.evaluation.loading import open_checkpoint
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runtime.files import is_device
from cnnrun.runtime.strict_json import to_json

Format = Literal["onnx", "safetensors", "torch-export", "torchscript"]

# Other libraries add in other orders: float32 keeps about seven digits of each product.
TOLERANCE = 1e-4
_COMPARED = 16


class Network(nn.Module):
    """What is exported: images to logits (N, K), or to pixels (N, C, H, W) and code (N, D)."""

    factor: Tensor | None
    shift: Tensor | None

    def __init__(self, model: nn.Module, factor: Tensor | None, shift: Tensor | None) -> None:
        """factor, shift: (1, C, 1, 1), of the preprocessing of uint8 images, where included."""
        super().__init__()
        self.model = model
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, images: Tensor) -> Any:
        """(N, C, H, W): uint8 with the preprocessing, else float32, normalized."""
        if self.factor is not None and self.shift is not None:
            images = images.to(torch.float32) * self.factor + self.shift
        answer = self.model(images)
        return answer if isinstance(answer, Tensor) else (answer.pixels, answer.code)


@dataclass(frozen=True)
class Export:
    """A written file, and how far its outputs are from the network's.

    largest_difference: between outputs, over all compared images. images: their number. real:
    whether they are the run's own test images, or random ones as the data are not available.
    """

    file: Path
    format: str
    largest_difference: float
    images: int
    real: bool


def export(
    parts: Parts, checkpoint: Checkpoint, format: Format, file: Path, preprocessing: bool = False
) -> Export:
    """Write the network to `file` and compare it with the one in memory.

    preprocessing: the file takes images (N, C, H, W) uint8 of the right size and normalizes them
        itself; otherwise it takes them float32 and normalized, `(x / 255 - mean) / std`.

    Raises:
        UserError: a library is missing, the network can't be written in this format, or the file
            gives other answers; nothing is left then.
    """
    if preprocessing and format == "safetensors":
        raise UserError(
            "safetensors holds only weights; mean and std for the preprocessing are in its "
            "metadata (formats with the preprocessing inside: onnx, torch-export, torchscript)"
        )
    if is_device(file):
        raise UserError(f"{file}: not a regular file, and an export is read back to check it")
    kind = FORMATS[format]
    network = _network(parts, preprocessing)
    images, real = _images(parts)
    inputs = images if preprocessing else parts.pipeline.normalize(images.to(parts.device)).cpu()
    description = metadata(parts, checkpoint, preprocessing)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".export-") as folder:
        unfinished = Path(folder) / f"model{kind.ending}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations inside the exporters
            kind.write(network, inputs[:2], unfinished, description)
            opened = kind.open(network, unfinished)
        difference = _compare(network, opened, inputs, format)
        unfinished.replace(file)
    return Export(file, format, difference, len(inputs), real)


def metadata(parts: Parts, checkpoint: Checkpoint, preprocessing: bool) -> dict[str, str]:
    """What users of the file need to know, as strings; lists are JSON."""
    channels, height, width = parts.dataset.input_shape
    return {
        "name": parts.experiment.name,
        "task": parts.experiment.task.name,
        "classes": to_json(list(parts.dataset.classes), ensure_ascii=False),
        "input": f"N x {channels} x {height} x {width}, "
        + ("uint8, 0..255" if preprocessing else "float32, (x / 255 - mean) / std"),
        "output": parts.task.output,
        **parts.task.exported(),
        "mean": to_json(checkpoint.normalization.mean),
        "std": to_json(checkpoint.normalization.std),
        "resize": str(parts.experiment.dataset.resize),
        "cnnrun": checkpoint.versions.get("cnnrun", ""),
    }


def _network(parts: Parts, preprocessing: bool) -> Network:
    """On the CPU and in contiguous memory, which every format can hold."""
    factor = shift = None
    if preprocessing:
        pipeline = parts.pipeline
        factor = (1 / (255 * pipeline.std)).cpu()
        shift = (-pipeline.mean / pipeline.std).cpu()
    model = parts.model.cpu().to(memory_format=torch.contiguous_format)
    network = Network(model, factor, shift).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _images(parts: Parts) -> tuple[Tensor, bool]:
    """Images (N, C, H, W) uint8 to compare with, and whether they are real ones."""
    test = parts.dataset.test
    if len(test):
        return test.images[torch.arange(min(_COMPARED, len(test)))].cpu().contiguous(), True
    shape = (_COMPARED, *parts.dataset.input_shape)
    drawn = torch.randint(256, shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(torch.uint8), False


def with_data(target: Path, parts: Parts, plugins: list[str]) -> tuple[Parts, str | None]:
    """`parts` with the run's own data if available, else unchanged, with the reason."""
    try:
        _, found, _ = open_checkpoint(target, ["device=cpu"], plugins)
    except UserError as error:
        return parts, str(error)
    return found, None


@torch.no_grad()
def _compare(
    network: nn.Module,
    opened: Runner,
    inputs: Tensor,
    format: str,
) -> float:
    """The largest difference of any output, one image at a time and all together.

    Raises:
        UserError: it is larger than rounding errors.
    """
    largest = 0.0
    for batch in (inputs[:1], inputs):
        wanted = as_arrays(network(batch))
        for want, got in zip(wanted, opened(batch), strict=True):
            scale = max(1.0, float(np.abs(want).max()))
            difference = float(np.abs(want - got).max()) if want.shape == got.shape else np.inf
            largest = max(largest, difference)
            if not difference <= TOLERANCE * scale:  # NaN never agrees
                raise UserError(
                    f"the {format} file answers differently from the network (by up to "
                    f"{difference:.3g}), so it was not kept"
                )
    return largest
