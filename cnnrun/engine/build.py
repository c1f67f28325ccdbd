"""The only place where the names in an experiment become objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.tasks.loss_contract import refuse_other_loss
from cnnrun.components.tasks.task import Task
from cnnrun.config.experiment import Experiment
from cnnrun.data import normalize
from cnnrun.data.augmentations.base import Augmentation, Mixing
from cnnrun.data.dataset import Dataset
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.pixel_targets import PixelPipeline
from cnnrun.engine.build_data import (
    build_augmentations,
    build_dataset,
    crop_at_decode,
    init_from_data,
    with_checkpoint_labels,
)
from cnnrun.engine.build_model import build_initialized_model, build_trained_model
from cnnrun.engine.fitting_targets import refuse_nothing_to_learn, refuse_other_targets
from cnnrun.engine.judge import judge_opener
from cnnrun.engine.parts import Parts
from cnnrun.engine.trial import check_task, try_users_parts, why_not_mixed
from cnnrun.errors import UserError
from cnnrun.models.trainable import Trainable
from cnnrun.runs.checkpoint import Checkpoint, Normalization
from cnnrun.runtime.device import be_deterministic, select_device
from cnnrun.runtime.long_work import Progress


def build(experiment: Experiment, checkpoint: Checkpoint | None = None) -> Parts:
    """Load the data and build the model, initialized as the experiment says.

    checkpoint: of a run to resume. Its normalization is used, and no pretrained weights are
    fetched: its own are loaded later.

    Raises:
        ConfigError: parts do not fit together, with the place of the cause.
        UserError: data or device are not available.
    """
    device = select_device(experiment.device)
    be_deterministic(experiment.training.deterministic)
    dataset = build_dataset(experiment)
    refuse_other_targets(experiment, dataset)
    refuse_nothing_to_learn(experiment, dataset)
    shape = dataset.input_shape
    resumes = checkpoint is not None
    built = build_initialized_model(experiment, shape, len(dataset.classes), resumes)
    model = built.model
    if checkpoint:
        normalization = checkpoint.normalization
    elif built.normalization and experiment.dataset.normalize == "auto":
        # The weights were trained on images normalized like this.
        normalization = built.normalization
    else:
        with experiment.located("dataset", "normalize"):
            mean, std = normalize.resolve(
                experiment.dataset.normalize,
                dataset.train.images,
                channels=shape[0],
                progress=Progress(),
            )
        normalization = Normalization(mean, std)
    if not resumes:
        init_from_data(model, dataset, normalization, experiment.seed)
    found = checkpoint.task if checkpoint else None
    outputs = len(checkpoint.classes if checkpoint else dataset.classes)
    learned = _Learned(dataset.class_counts, len(dataset.train), found, outputs)
    parts = _assemble(experiment, device, dataset, normalization, model, learned)
    try_users_parts(parts)
    return replace(
        parts, trainable=built.trainable, transfer=built.transfer, notes=tuple(built.notes)
    )


def rebuild(checkpoint: Checkpoint, experiment: Experiment, dataset: Dataset) -> Parts:
    """The parts with the weights, classes and normalization of a checkpoint.

    dataset: the data to use; its labels become those of the checkpoint, by class name.

    Raises:
        UserError: the data has classes or an image size that the model was not trained for, or
            the weights do not fit the model.
    """
    device = select_device(experiment.device)
    model = build_trained_model(experiment, checkpoint)
    refuse_other_targets(experiment, dataset)
    dataset = with_checkpoint_labels(dataset, checkpoint)
    classes, counts = len(checkpoint.classes), len(checkpoint.class_counts)
    if counts != classes:
        message = f"it names {classes} classes and counts {counts}"
        raise UserError(f"the checkpoint is damaged: {message}")
    trained_on = checkpoint.data.get("trained_on")
    samples = len(trained_on) if isinstance(trained_on, Tensor) and trained_on.dim() == 1 else 0
    learned = _Learned(torch.tensor(checkpoint.class_counts), samples, checkpoint.task, classes)
    return _assemble(experiment, device, dataset, checkpoint.normalization, model, learned)


def _restore(task: Task, found: dict[str, Any], outputs: int) -> None:
    """Restore what a task once found in the data.

    outputs: how many classes, labels or values the network answers.

    Raises:
        UserError: it is not a state of such a task; the checkpoint is untrusted.
    """
    try:
        task.restore(found)
        task.check_state(outputs)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        message = f"{type(error).__name__}: {error!s:.200}"
        raise UserError(f"the checkpoint's state of it is damaged ({message})") from error


@dataclass(frozen=True)
class _Learned:
    """Facts about the training split.

    counts: samples of each class, (K,) int64. samples: their total. found: the state of a
    checkpoint's task, see `Task.state`.
    outputs: how many classes, labels or values that was; the data may have others now.
    """

    counts: Tensor
    samples: int
    found: dict[str, Any] | None
    outputs: int


def _augmentations_beside(
    loss: nn.Module, task: Task, experiment: Experiment, dataset: Dataset
) -> list[Augmentation]:
    """The augmentations; refuses those that mix labels if the loss only takes whole ones.

    Raises:
        ConfigError: with the place of the augmentation.
    """
    augmentations = build_augmentations(experiment, dataset.train.targets)
    mixing = [i for i, augmentation in enumerate(augmentations) if isinstance(augmentation, Mixing)]
    name, classes = experiment.loss.name, len(dataset.classes)
    if mixing and (why := why_not_mixed(loss, task, name, classes)):
        message = f"mixes labels, and {why}; leave it out"
        raise experiment.error(["dataset", "augment", mixing[0]], message)
    return augmentations


def _loss(experiment: Experiment, classes: int, learned: _Learned) -> nn.Module:
    loss: nn.Module = registry.losses.build(
        experiment.loss,
        num_classes=classes,
        class_counts=learned.counts,
        sample_count=learned.samples,
        open_judge=judge_opener(experiment.plugins),
    )
    return loss


def _assemble(
    experiment: Experiment,
    device: torch.device,
    dataset: Dataset,
    normalization: Normalization,
    model: nn.Module,
    learned: _Learned,
) -> Parts:
    classes = len(dataset.classes)
    with experiment.located("loss"):
        loss = _loss(experiment, classes, learned)
    task = _task(experiment, dataset, model, loss, learned)
    augmentations = _augmentations_beside(loss, task, experiment, dataset)
    crop = crop_at_decode(augmentations, dataset, experiment.seed)
    pipeline = (PixelPipeline if task.targets == "pixels" else Pipeline)(
        augmentations[1:] if crop else augmentations,
        normalization.mean,
        normalization.std,
        interpolation=experiment.dataset.interpolation,
        device=device,
        num_classes=classes,
        kind=type(dataset.train.targets),
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
        trainable=Trainable(model),
    )


def _task(
    experiment: Experiment, dataset: Dataset, model: nn.Module, loss: nn.Module, learned: _Learned
) -> Task:
    """The task, which knows its data, and that model and loss suit it."""
    with experiment.located("task"):
        task: Task = registry.tasks.build(experiment.task)
        entry = registry.tasks.get(experiment.task.name)
        if entry.is_users:
            check_task(task, entry)
        refuse_other_loss(task, loss)
        task.check(model, loss)
    with experiment.located("model"):
        task.check_shape(model, dataset.input_shape, len(dataset.classes))
    with experiment.located("task"):
        if learned.found is None:
            task.learn(dataset)
        else:
            _restore(task, learned.found, learned.outputs)
    with experiment.located("training", "monitor"):
        task.ranks_by(experiment.training.monitor)
    return task
