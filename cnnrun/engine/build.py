"""The one place where the names in an experiment become objects."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.schedules import Schedule, build_schedule
from cnnrun.components.tasks import Task
from cnnrun.config.experiment import Experiment
from cnnrun.data import normalize
from cnnrun.data.augmentations.base import Augmentation
from cnnrun.data.augmentations.geometric import RandomResizedCrop
from cnnrun.data.batches import decodes_crops
from cnnrun.data.dataset import Dataset
from cnnrun.data.displacement import displaced
from cnnrun.data.images.conversion import with_form
from cnnrun.data.images.framing import RandomCrop
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.pixel_targets import PixelPipeline
from cnnrun.data.splits import apply_splits
from cnnrun.engine.build_model import build_initialized_model, build_model, refuse_absurd_model
from cnnrun.errors import UserError, did_you_mean
from cnnrun.models.transfer import Transfer, parameter_groups
from cnnrun.runs.checkpoint import Checkpoint, Normalization
from cnnrun.runtime.device import be_deterministic, select_device
from cnnrun.runtime.randomness import derive_seed, generator
from cnnrun.runtime.torch_shortcuts import leave_compiler_out
from cnnrun.runtime.weights import load_weights, some


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
    # What stays in eval mode while the rest trains.
    frozen: tuple[nn.Module, ...] = ()
    # What the experiment's `transfer` means for this model, presets written out.
    transfer: Transfer | None = None


def build(experiment: Experiment) -> Parts:
    """Load the data and build the model, initialized as the experiment says.

    Raises:
        ConfigError: parts do not fit together, with the place of the cause.
        UserError: data or device are not there.
    """
    device = select_device(experiment.device)
    be_deterministic(experiment.training.deterministic)
    dataset = build_dataset(experiment)
    shape = dataset.input_shape
    model, frozen, transfer, source = build_initialized_model(
        experiment, shape, len(dataset.classes)
    )
    if source and experiment.dataset.normalize == "auto":
        # The features were learnt on pictures that were normalized so.
        normalization = source.normalization
    else:
        with experiment.located("dataset", "normalize"):
            mean, std = normalize.resolve(
                experiment.dataset.normalize, dataset.train.images, channels=shape[0]
            )
        normalization = Normalization(mean, std)
    show_pictures(model, dataset, normalization, experiment.seed)
    counts = dataset.class_counts
    parts = _assemble(experiment, device, dataset, normalization, model, counts)
    return replace(parts, frozen=tuple(frozen), transfer=transfer)


def rebuild(checkpoint: Checkpoint, experiment: Experiment, dataset: Dataset) -> Parts:
    """The parts with the weights, classes and normalization of a checkpoint.

    dataset: what to compute on; its labels become those of the checkpoint, by class name.

    Raises:
        UserError: the data has classes or a picture size that the model was not trained for, or
            the weights do not fit the model.
    """
    device = select_device(experiment.device)
    shape, classes = tuple(checkpoint.input_shape), len(checkpoint.classes)
    refuse_absurd_model(experiment, shape, classes, checkpoint.model)
    model = build_model(experiment, shape, classes)
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
    with experiment.located("loss"):
        loss = registry.losses.build(
            experiment.loss, num_classes=classes, class_counts=class_counts
        )
    task: Task = registry.tasks.build(experiment.task)
    with experiment.located("task"):
        task.check(model, loss)
    monitor = experiment.training.monitor
    if monitor not in ("auto", *task.measures):
        hint = did_you_mean(monitor, task.measures)
        raise experiment.error(["training", "monitor"], f"'{monitor}' is not measured{hint}")
    augmentations = build_augmentations(experiment)
    crop = taken_while_decoding(augmentations, dataset, experiment.seed)
    pipeline = (Pipeline if task.targets == "labels" else PixelPipeline)(
        augmentations[1:] if crop else augmentations,
        normalization.mean,
        normalization.std,
        interpolation=experiment.dataset.interpolation,
        device=device,
        num_classes=classes,
    )
    if isinstance(pipeline, PixelPipeline):
        pipeline.noise = task.noise
    model.to(device)
    if experiment.training.channels_last:
        model.to(memory_format=torch.channels_last)
    return Parts(
        experiment=experiment,
        device=device,
        task=task,
        dataset=dataset,
        normalization=normalization,
        crop=crop,
        pipeline=pipeline,
        model=model,
        loss=loss.to(device),
    )


def build_dataset(experiment: Experiment) -> Dataset:
    """Load the data and set its validation split aside."""
    pictures = experiment.dataset.pictures()
    dataset: Dataset = registry.datasets.build(experiment.dataset, pictures=pictures)
    dataset = replace(dataset, bad_files=tuple(pictures.bad_files), notes=tuple(pictures.notes))
    with experiment.located("dataset"):
        check_labels(dataset)
        dataset = displaced(with_form(dataset, pictures), experiment.dataset.displace)
        return apply_splits(dataset, experiment.dataset, experiment.seed)


def show_pictures(
    model: nn.Module, dataset: Dataset, normalization: Normalization, seed: int
) -> None:
    """Let a model that wants to (`look_at`) see some normalized training pictures first."""
    if not hasattr(model, "look_at"):
        return
    chosen = torch.randperm(len(dataset.train), generator=generator(seed, "look at"))[:5000]
    pictures = dataset.train.images[chosen].float() / 255
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (normalization.mean, normalization.std))
    model.look_at((pictures - mean) / std)  # type: ignore[operator]


def check_labels(dataset: Dataset) -> None:
    """Refuse labels that are no class, before a GPU would fail on one without a word.

    Names of classes may be any text that can be printed.

    Raises:
        UserError: the label, the split and the classes that there are.
    """
    for name in dataset.classes:
        # It would end on people's terminals.
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise UserError(f"the class {name!r} has a control character in its name; rename it")
    for name in ("train", "validation", "test"):
        labels = dataset.split(name).labels
        wrong = labels[(labels < 0) | (labels >= len(dataset.classes))]
        if len(wrong):
            raise UserError(
                f"the {name} split has the label {int(wrong[0])}, but there are "
                f"{len(dataset.classes)} classes ({some(dataset.classes)}): labels are 0 to "
                f"{len(dataset.classes) - 1}"
            )


def build_augmentations(experiment: Experiment) -> list[Augmentation]:
    built = []
    for i, item in enumerate(experiment.dataset.augment):
        with experiment.located("dataset", "augment", i):
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


def build_optimizer(parts: Parts) -> torch.optim.Optimizer:
    """The optimizer of the parameters that train; `initial_lr` notes each group's own rate."""
    experiment, model, transfer = parts.experiment, parts.model, parts.transfer
    parameters: list[Any] = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise experiment.error(
            ["transfer", "freeze"] if transfer else ["model"],
            "nothing to train: no parameter of the model requires a gradient",
        )
    if transfer and transfer.lr_multipliers:
        with experiment.located("transfer"):
            lr = float(experiment.optimizer.lr)  # type: ignore[attr-defined]
            parameters = parameter_groups(model, transfer, lr)
    if not experiment.training.compile:
        leave_compiler_out()
    with experiment.located("optimizer"):
        optimizer: torch.optim.Optimizer = registry.optimizers.build(
            experiment.optimizer, parameters=parameters
        )
    note_initial_rates(optimizer)
    return optimizer


def note_initial_rates(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])


def build_lr_schedule(experiment: Experiment, steps_per_epoch: int) -> Schedule:
    total = experiment.training.epochs * steps_per_epoch
    with experiment.located("schedule"):
        return build_schedule(experiment.schedule, total, steps_per_epoch)


def matching(dataset: Dataset, checkpoint: Checkpoint) -> Dataset:
    """`dataset` with the labels of the checkpoint's classes, matched by name."""
    known = tuple(checkpoint.classes)
    unknown = [name for name in dataset.classes if name not in known]
    if unknown:
        raise UserError(
            f"the data has classes that the model was not trained on: {some(unknown)} "
            f"(it knows {some(known)})"
        )
    if list(dataset.input_shape) != checkpoint.input_shape:
        raise UserError(
            f"the data's pictures are {_shape(dataset.input_shape)}, "
            f"but the model was trained on {_shape(checkpoint.input_shape)}"
        )
    return dataset if dataset.classes == known else dataset.with_labels_of(known)


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))
