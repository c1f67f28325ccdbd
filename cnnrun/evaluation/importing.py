"""A pretrained network of another program as a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.tasks.task import Task
from cnnrun.config.document import read
from cnnrun.config.experiment import Experiment, from_dict
from cnnrun.data import normalize
from cnnrun.engine.build_model import build_model
from cnnrun.errors import ConfigError, UserError
from cnnrun.evaluation.class_names import read_classes, unique
from cnnrun.models.surgery import head_name
from cnnrun.models.zoo_weights import (
    LIBRARIES,
    Pretrained,
    fetched,
    names_weights_file,
    pretrained,
)
from cnnrun.runs.checkpoint import Checkpoint, Normalization
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.weight_names import renamed, suggested, table
from cnnrun.runtime.weights import check_fit, read_weights, without_prefix
from cnnrun.version import __version__

# Before it is known how many outputs there are.
_SOME = 10


@dataclass(frozen=True)
class Imported:
    """A checkpoint of an imported network, and notes about it.

    fit: for weights from a file, lines of a table of what fits. notes: for the user.
    """

    checkpoint: Checkpoint
    fit: list[str]
    notes: list[str]


def names_network(target: Path) -> bool:
    """Whether `target` is a network of a library, such as torchvision/resnet18, and no path."""
    return len(target.parts) == 2 and target.parts[0] in LIBRARIES and not target.exists()


def import_network(
    model: str,
    weights: str | None = None,
    classes: Path | None = None,
    rename: Path | None = None,
    overrides: Iterable[str] = (),
    plugins: Iterable[str] = (),
) -> Imported:
    """The network `model`, unchanged, with pretrained weights.

    weights: a file, or the name of weights of torchvision or timm; None is these libraries' choice.
    classes: a file with the names of the outputs, see `class_names`.
    rename: a YAML file that maps the file's weights to names here, see `renamed`.
    overrides: further settings, e.g. `dataset.size=224` or `model.channels=[8,16]`.

    Raises:
        ConfigError: all problems of these settings. UserError: weights are missing or do not fit;
        with a table of what does.
    """
    of_library = model.partition("/")[0] in LIBRARIES
    file = expanded(weights) if weights and names_weights_file(weights, of_library) else None
    known = pretrained(model, None if file else weights) if of_library else None
    if file is None and known is None:
        raise UserError(f"{model} comes without trained weights; name a file of them: --weights")
    experiment = _experiment(model, known, file is None, overrides, plugins)
    shape = _shape(experiment)
    found = _Weights(experiment, shape, read_weights(file) if file else fetched(model, known))  # type: ignore[arg-type]
    found.rename(rename)
    names = _named(found.outputs, classes, known)
    network = build_model(experiment, shape, len(names))
    task: Task = registry.tasks.build(experiment.task)
    with experiment.located("task"):
        task.check(network, nn.Identity())
        task.check_shape(network, shape, len(names))
    checkpoint = Checkpoint(
        model=found.fitting(network, file),
        config=experiment.to_dict(),
        classes=list(names),
        class_counts=[0] * len(names),
        input_shape=list(shape),
        task=_task_state(task, experiment.task.name, names),
        normalization=_normalization(experiment, shape[0]),
        versions={"cnnrun": __version__, "torch": str(torch.__version__)},
    )
    notes = []
    if known and not known.smooth:
        notes.append(
            f"{model} was scored on images that were resized otherwise than bilinearly, as they "
            "are here; scores may differ in the third digit"
        )
    return Imported(checkpoint, found.fit if file else [], notes)


def _experiment(
    model: str,
    known: Pretrained | None,
    fetches: bool,
    overrides: Iterable[str],
    plugins: Iterable[str],
) -> Experiment:
    """The checkpoint's experiment: a network, and the format of its images."""
    data: dict[str, Any] = {"name": "none"}
    network = {"name": model}
    if known:
        moments = {"mean": list(known.mean), "std": list(known.std)}
        data |= {"size": list(known.size), "channels": "rgb", "resize": known.resize}
        data |= {"crop_fraction": known.crop_fraction, "normalize": moments}
        network |= {"weights": known.weights} if fetches else {}
    name = re.sub(r"[^\w.+-]", "_", model.rpartition("/")[2]).lstrip("._+-") or "imported"
    values = {"name": name, "dataset": data, "model": network}
    experiment = from_dict(values, "the import", overrides, plugins)
    if experiment.dataset.name != "none":
        raise ConfigError(
            "import: dataset.name: an import needs no images; give them to `cnnrun eval`"
        )
    if experiment.transfer is not None:
        raise ConfigError("import: transfer: the network is imported unchanged; leave it out")
    return experiment


def _shape(experiment: Experiment) -> tuple[int, int, int]:
    options = experiment.dataset.image_options()
    if options.size is None or options.channels is None:
        raise ConfigError(
            "import: set the images that the network takes: dataset.size=224 (or [HEIGHT,WIDTH]) "
            "and dataset.channels=rgb (or gray)"
        )
    return (options.channels, *options.size)


def _normalization(experiment: Experiment, channels: int) -> Normalization:
    if experiment.dataset.normalize == "auto":
        raise ConfigError(
            "import: set how its images were normalized: dataset.normalize=imagenet, half, none "
            "or {mean: [...], std: [...]} in units of 0..1"
        )
    with experiment.located("dataset", "normalize"):
        return Normalization(*normalize.without_images(experiment.dataset.normalize, channels))


class _Weights:
    """Weights under the names of their network."""

    def __init__(
        self, experiment: Experiment, shape: tuple[int, int, int], tensors: dict[str, Tensor]
    ) -> None:
        with torch.device("meta"):
            model = build_model(experiment, shape, _SOME)
        self.own = model.state_dict()
        self.head = head_name(model)
        self.tensors = without_prefix(self.own, tensors)
        self.fit: list[str] = []

    def rename(self, file: Path | None) -> None:
        """Take the names in a YAML file instead.

        Raises:
            ConfigError: it is not a map of names, or has unknown ones.
        """
        if file is None:
            return
        names = {str(key): value for key, value in read(file).values.items()}
        if not all(isinstance(value, str | None) for value in names.values()):
            raise ConfigError(f"{file}: expected lines `old.name: new.name`, or `old.name: null`")
        try:
            self.tensors = without_prefix(self.own, renamed(self.tensors, names))
        except UserError as error:
            raise ConfigError(f"{file}: {error}") from error

    @property
    def outputs(self) -> int | None:
        """The outputs of the last layer, or one that might be it; None if the file has none."""
        key = f"{self.head}.weight"
        wanted = self.own[key].shape[1:]
        spare = [value for name, value in self.tensors.items() if name not in self.own]
        heads = [*spare, *(self.tensors[k] for k in [key] if k in self.tensors)]
        return next((len(v) for v in reversed(heads) if v.dim() and v.shape[1:] == wanted), None)

    def fitting(self, network: nn.Module, file: Path | None) -> dict[str, Tensor]:
        """The weights of `network`, all of them; what else there is is left out.

        Raises:
            UserError: some do not fit, with a table of what does.
        """
        own = network.state_dict()
        self.fit = table(own, self.tensors)
        parts = {key.partition(".")[0] for key in own}
        known = {k: v for k, v in self.tensors.items() if k.partition(".")[0] in parts}
        try:
            network.load_state_dict(check_fit(network, known), strict=False)
        except UserError as error:
            names = suggested(own, self.tensors)
            lines = [f"{file or 'the weights'}: {error}", *self.fit]
            if names:
                lines += ["by shape and order, these may match (--rename FILE):"]
                lines += [f"  {old}: {new}" for old, new in names.items()]
            raise UserError("\n".join(lines)) from error
        return network.state_dict()


def _named(outputs: int | None, file: Path | None, known: Pretrained | None) -> tuple[str, ...]:
    """The names of the outputs: from the file, else the library's, else numbers."""
    if file is not None:
        names = read_classes(file)
        if outputs not in (None, len(names)):
            raise UserError(f"{file}: names {len(names):,} classes; the network has {outputs:,}")
        return names
    if known and outputs in (None, len(known.classes)):
        return unique(known.classes)
    return tuple(f"class {number}" for number in range(outputs or _SOME))


def _task_state(task: Task, name: str, names: Sequence[str]) -> dict[str, Any]:
    """The task's state, if it follows from the names alone.

    Raises:
        UserError: it does not.
    """
    able = {"labels": {}, "label_sets": {"labels": len(names), "thresholds": None}}
    able["masks"] = {"classes": len(names)}
    if task.targets not in able:
        message = "it learns more from data than weights, and no weights file has that"
        raise UserError(f"import: task {name}: {message}")
    return able[task.targets]
