"""Plots of predictions for image files: `cnnrun predict --gradcam DIR`."""

from __future__ import annotations

from pathlib import Path

import torch

from cnnrun.engine.parts import Parts
from cnnrun.evaluation.attribution import explained_layer, grad_cam_maps
from cnnrun.evaluation.prediction import Answers
from cnnrun.plots.drawing.attribution import draw_attributions
from cnnrun.plots.style import save
from cnnrun.plots.target import as_floats


class GradCam:
    """Writes, for each image, which regions speak for the class that the model predicts."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        """Raises `UserError` where the model has no feature maps."""
        self._parts, self._folder = parts, folder
        self._used: set[str] = set()
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
            written.append(save(figure, self._folder / f"{self._name_for(file)}.png"))
        return written

    def _name_for(self, file: str) -> str:
        """The image's name without its ending, numbered where another one had it."""
        stem = name = Path(file).stem
        number = 1
        while name in self._used:
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name)
        return name
