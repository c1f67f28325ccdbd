"""Files of predictions for images: `cnnrun predict --gradcam DIR`, `--masks DIR`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cnnrun.data.targets import IGNORED
from cnnrun.engine.parts import Parts
from cnnrun.evaluation.attribution import explained_layer, grad_cam_maps
from cnnrun.evaluation.prediction import Answers, masks_of
from cnnrun.plots.drawing.attribution import draw_attributions
from cnnrun.plots.drawing.overlays import class_colours
from cnnrun.plots.style import save
from cnnrun.plots.target import as_floats


class GradCam:
    """Writes, for each image, which regions speak for the class that the model predicts."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        """Raises `UserError` where the model has no feature maps."""
        self._parts, self._folder = parts, folder
        self._names = _Names()
        # Any image shows which layers there are; a blank one would leave maps at zero.
        noise = torch.arange(torch.Size(parts.dataset.input_shape).numel()) * 37 % 256
        image = noise.to(torch.uint8).view(1, *parts.dataset.input_shape)
        inputs = parts.pipeline.normalize(image.to(parts.device))
        self._name = explained_layer(parts.model, inputs)
        self._layer = parts.model.get_submodule(self._name)

    def draw(self, answers: Answers) -> list[Path]:
        """The PNG files written, one for each image of `answers`."""
        if not answers.files:
            return []
        inputs = self._parts.pipeline.normalize(answers.images.to(self._parts.device))
        best = answers.probabilities.argmax(1)
        classes = torch.from_numpy(best).to(inputs.device)
        maps = grad_cam_maps(self._parts.model, self._layer, inputs, classes).float().cpu().numpy()
        written = []
        for row, file in enumerate(answers.files):
            figure = draw_attributions(
                as_floats(answers.images[row : row + 1]),
                maps[row : row + 1],
                None,
                [self._parts.dataset.classes[best[row]]],
                [float(answers.probabilities[row].max())],
                f"Grad-CAM of {Path(file).name} at {self._name}",
            )
            written.append(save(figure, self._folder / f"{self._names.of(file)}.png"))
        return written


class MaskFiles:
    """Writes, for each image, the class of each pixel as a PNG whose palette shows them."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self._parts, self._folder, self._names = parts, folder, _Names()
        colours = np.zeros((256, 3))
        known = class_colours(len(parts.dataset.classes))
        colours[: len(known)] = known
        colours[IGNORED] = 1.0
        self._palette = (colours * 255).round().astype(np.uint8).tobytes()

    def write(self, answers: Answers) -> list[Path]:
        """The PNG files written, one for each image of `answers`, of its own size.

        A pixel is the number of its class, or 255 where the network was shown nothing.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        written = []
        for file, mask in zip(answers.files, masks_of(self._parts, answers), strict=True):
            image = Image.fromarray(mask)
            image.putpalette(self._palette)
            place = self._folder / f"{self._names.of(file)}.png"
            image.save(place)
            written.append(place)
        return written


class _Names:
    """The images' names without their endings, numbered where another one had it."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def of(self, file: str) -> str:
        stem = name = Path(file).stem
        number = 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        return name
