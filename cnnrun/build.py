"""The one place where the names in an experiment become objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.checkpoint import Checkpoint, Normalization
from cnnrun.config import Experiment
from cnnrun.data import normalize
from cnnrun.data.augmentations.base import Augmentation
from cnnrun.data.augmentations.geometric import RandomResizedCrop
from cnnrun.data.batches import decodes_crops
from cnnrun.data.conversion import with_form
from cnnrun.data.dataset import Dataset
from cnnrun.data.framing import RandomCrop
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.splits import apply_splits
from cnnrun.device import select_device
from cnnrun.errors import ConfigError, UserError
from cnnrun.initializers import initialize
from cnnrun.randomness import derive_seed, seed_default
from cnnrun.schedules import Schedule, build_schedule
from cnnrun.tasks import Task


@dataclass(frozen=True)
class Parts:
    """What an experiment is made of, ready to compute on `device`."""

    experiment: Experiment
    device: torch.device
    task: Task
    dataset: Dataset
    normalization: Normalization
    crop: RandomCrop | None
    pipeline: Pipeline
    model: nn.Module
    loss: nn.Module


def build(experiment: Experiment) -> Parts:
    """Load the data and build the model, initialized as the experiment says.

    Raises:
        ConfigError: parts do not fit together, with the place of the cause.
        UserError: data or device are not there.
    """
    device = select_device(experiment.device)
    dataset = build_dataset(experiment)
    shape = dataset.input_shape
    with located(experiment, "dataset", "normalize"):
        mean, std = normalize.resolve(
            experiment.dataset.normalize, dataset.train.images, channels=shape[0]
        )
    model = build_model(experiment, shape, len(dataset.classes))
    seed_default(torch.device("cpu"), experiment.seed, "initializer")
    with located(experiment, "initializer"):
        initialize(model, experiment.initializer)
    counts = dataset.class_counts
    return _assemble(experiment, device, dataset, Normalization(mean, std), model, counts)


def rebuild(checkpoint: Checkpoint, experiment: Experiment, dataset: Dataset) -> Parts:
    """The parts with the weights, classes and normalization of a checkpoint.

    dataset: what to compute on; its labels become those of the checkpoint, by class name.

    Raises:
        UserError: the data has classes or a picture size that the model was not trained for, or
            the weights do not fit the model.
    """
    device = select_device(experiment.device)
    model = build_model(experiment, tuple(checkpoint.input_shape), len(checkpoint.classes))
    load_weights(model, checkpoint.model)
    dataset = matching(dataset, checkpoint)
    counts = torch.tensor(checkpoint.class_counts)
    return _assemble(experiment, device, dataset, checkpoint.normalization, model, counts)


def _assemble(
    experiment: Experiment,
    device: torch.device,
    dataset: Dataset,
    normalization: Normalization,
    model: nn.Module,
    class_counts: Tensor,
) -> Parts:
    classes = len(dataset.classes)
    with located(experiment, "loss"):
        loss = registry.losses.build(
            experiment.loss, num_classes=classes, class_counts=class_counts
        )
    augmentations = build_augmentations(experiment)
    crop = taken_while_decoding(augmentations, dataset, experiment.seed)
    model.to(device)
    if experiment.training.channels_last:
        model.to(memory_format=torch.channels_last)
    return Parts(
        experiment=experiment,
        device=device,
        task=registry.tasks.build(experiment.task),
        dataset=dataset,
        normalization=normalization,
        crop=crop,
        pipeline=Pipeline(
            augmentations[1:] if crop else augmentations,
            normalization.mean,
            normalization.std,
            interpolation=experiment.dataset.interpolation,
            device=device,
            num_classes=classes,
        ),
        model=model,
        loss=loss.to(device),
    )


def build_dataset(experiment: Experiment) -> Dataset:
    """Load the data and set its validation split aside."""
    pictures = experiment.dataset.pictures()
    dataset: Dataset = registry.datasets.build(experiment.dataset, pictures=pictures)
    dataset = replace(dataset, bad_files=tuple(pictures.bad_files), notes=tuple(pictures.notes))
    with located(experiment, "dataset"):
        return apply_splits(with_form(dataset, pictures), experiment.dataset, experiment.seed)


def build_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The model as its own constructor initializes it, from the stream (seed, "model")."""
    seed_default(torch.device("cpu"), experiment.seed, "model")
    with located(experiment, "model"):
        model: nn.Module = registry.models.build(
            experiment.model, input_shape=input_shape, num_classes=num_classes
        )
    return model


def build_augmentations(experiment: Experiment) -> list[Augmentation]:
    built = []
    for i, item in enumerate(experiment.dataset.augment):
        with located(experiment, "dataset", "augment", i):
            built.append(registry.augmentations.build(item))
    return built


def taken_while_decoding(
    augmentations: list[Augmentation], dataset: Dataset, seed: int
) -> RandomCrop | None:
    """The first augmentation, if it is a random crop of files that are decoded at each use.

    Such a file need not be decoded whole and then enlarged: its crop is read at full quality.
    """
    first = augmentations[0] if augmentations else None
    if not isinstance(first, RandomResizedCrop) or first.probability < 1:
        return None
    if not decodes_crops(dataset.train.images):
        return None
    scale, ratio = (tuple(pair) for pair in (first.scale, first.ratio))
    return RandomCrop(derive_seed(seed, "crops"), scale, ratio)  # type: ignore[arg-type]


def build_optimizer(experiment: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of the parameters that train; `initial_lr` notes each group's own rate."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise experiment.error(["model"], "nothing to train: no parameter requires a gradient")
    with located(experiment, "optimizer"):
        optimizer: torch.optim.Optimizer = registry.optimizers.build(
            experiment.optimizer, parameters=parameters
        )
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def build_lr_schedule(experiment: Experiment, steps_per_epoch: int) -> Schedule:
    total = experiment.training.epochs * steps_per_epoch
    with located(experiment, "schedule"):
        return build_schedule(experiment.schedule, total, steps_per_epoch)


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy `weights` into `model`.

    Raises:
        UserError: keys are missing, unexpected or of another shape; they are named.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and own[key].shape != weights[key].shape
    ]
    problems = [
        f"{title}: {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("shape", shapes))
        if keys
    ]
    if problems:
        raise UserError("the weights do not fit the model; " + "; ".join(problems))
    model.load_state_dict(weights)


def matching(dataset: Dataset, checkpoint: Checkpoint) -> Dataset:
    """`dataset` with the labels of the checkpoint's classes, matched by name."""
    known = tuple(checkpoint.classes)
    unknown = [name for name in dataset.classes if name not in known]
    if unknown:
        raise UserError(
            f"the data has classes that the model was not trained on: {_some(unknown)} "
            f"(it knows {_some(known)})"
        )
    if list(dataset.input_shape) != checkpoint.input_shape:
        raise UserError(
            f"the data's pictures are {_shape(dataset.input_shape)}, "
            f"but the model was trained on {_shape(checkpoint.input_shape)}"
        )
    return dataset if dataset.classes == known else dataset.with_labels_of(known)


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


@contextmanager
def located(experiment: Experiment, *path: str | int) -> Iterator[None]:
    """Give a mistake that shows only on building the place of its cause in the YAML file."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise experiment.error(path, str(error)) from error
