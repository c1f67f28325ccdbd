"""The user's own components are tried once, on a few images, before training.

cnnrun's own are tested elsewhere and cost nothing here. A user's mistake is reported with the line
of their file, before an hour of training or a CUDA assertion hides it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.tasks import Task
from cnnrun.components.tasks.classify import Classify
from cnnrun.components.tasks.multilabel import Multilabel
from cnnrun.components.tasks.regress import Regress
from cnnrun.data.augmentations.base import Augmentation
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.pipeline import Pipeline
from cnnrun.data.targets import Labels
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError, in_user_code
from cnnrun.registry import Entry
from cnnrun.runtime.randomness import generator

_IMAGES = 2

# Steps that take (N, K) from a network, and what each of the K is. Others would be broadcast.
_OF_EACH_OUTPUT = {
    Classify.step: "a logit for each class",
    Multilabel.step: "a logit for each label",
    Regress.step: "a number for each value",
}


def check_dataset(dataset: Dataset, entry: Entry) -> None:
    """Refuse splits that don't match the description of `Split`.

    Raises:
        UserError: with the split and what is expected.
    """
    if not all(isinstance(name, str) for name in dataset.classes):
        raise entry.mistake(f"has classes that are not text: {dataset.classes!r}")
    for name in ("train", "test", "validation"):
        split: Any = getattr(dataset, name)
        if split is None and name == "validation":
            continue
        if not isinstance(split, Split):
            raise entry.mistake(f"gives {_what(split)} as its {name} split, not a Split")
        _check_split(split, name, entry)
    if not len(dataset.train):
        raise entry.mistake("has no training images")


def _check_split(split: Split, name: str, entry: Entry) -> None:
    images, labels = split.images, split.targets.held
    if not len(images.shape):
        raise entry.mistake(f"has {name} images without a shape")
    first = images[torch.arange(min(_IMAGES, images.shape[0]))]
    if first.dim() != 4 or first.dtype != torch.uint8:
        raise entry.mistake(
            f"has {name} images of {first.dtype} {tuple(images.shape)}; expected torch.uint8 "
            "(N, C, H, W) in 0..255"
        )
    bad_labels = not isinstance(labels, Tensor) or labels.dim() != 1 or labels.dtype != torch.int64
    if isinstance(split.targets, Labels) and bad_labels:
        raise entry.mistake(f"has {name} labels: {_what(labels)}; expected torch.int64 (N,)")
    if len(labels) != images.shape[0]:
        kind = split.targets.kind.replace("_", " ")
        raise entry.mistake(f"has {images.shape[0]} {name} images, but {len(labels)} {kind}")


def check_task(task: Task, entry: Entry) -> None:
    """Refuse a task without a step, or with more metrics than its loss but no sums.

    Raises:
        UserError: with the missing method.
    """
    needed = ("step",) if len(task.epoch_metrics) == 1 else ("step", "sums")
    for method in needed:
        if getattr(type(task), method) is getattr(Task, method):
            raise entry.mistake(f"lacks the method `{method}`, see cnnrun.plugin.Task")


def try_users_parts(parts: Parts) -> None:
    """Run a user's model and augmentations once and check their outputs.

    Changes no weight, mode or random stream.

    Raises:
        UserError: with the problem and the line of their file.
    """
    experiment = parts.experiment
    images = parts.dataset.train.images[torch.arange(min(_IMAGES, len(parts.dataset.train)))]
    images = images.to(parts.device)
    model = registry.models.get(experiment.model.name)
    if model.is_users:
        with experiment.located("model"):
            _try_model(parts, model, images)
    # A crop taken while decoding is the first of the list, and not part of the pipeline.
    skipped = 1 if parts.crop else 0
    for i, augmentation in enumerate(parts.pipeline.augmentations, skipped):
        entry = registry.augmentations.get(experiment.dataset.augment[i].name)
        if entry.is_users:
            with experiment.located("dataset", "augment", i):
                _try_augmentation(augmentation, parts, entry, images)


def why_not_mixed(loss: nn.Module, task: Task, name: str, classes: int) -> str:
    """Why a loss can't learn from mixed labels, shares of each class (N, K); "" if it can.

    It says so itself by `takes_soft_labels`; a user's that says nothing is tried.
    """
    takes = getattr(loss, "takes_soft_labels", None)
    of_logits = type(task).step is Classify.step  # of other tasks, who knows what it gets
    if takes is None and of_logits and registry.losses.get(name).is_users:
        shares = torch.full((_IMAGES, classes), 1 / classes)
        try:
            with torch.random.fork_rng(), torch.no_grad():
                copy.deepcopy(loss)(torch.zeros(_IMAGES, classes), shares)
        except Exception as error:
            where = in_user_code(error) or f"{type(error).__name__}: {error!s:.200}"
            return f"{name} fails on targets (N, K) of their shares ({where})"
    return f"{name} takes whole ones" if takes is False else ""


def _try_model(parts: Parts, entry: Entry, images: Tensor) -> None:
    model, modes = parts.model, [(m, m.training) for m in parts.model.modules()]
    shape = " x ".join(map(str, images.shape))
    model.eval()
    try:
        with (
            torch.random.fork_rng(),
            torch.no_grad(),
            _errors_as(entry, f"fails on {shape} images"),
        ):
            outputs = model(parts.pipeline.normalize(images))
    finally:
        for module, training in modes:
            module.training = training
    if type(parts.task).step not in _OF_EACH_OUTPUT:
        return  # only the task knows how they are used
    expected = (len(images), len(parts.dataset.classes))
    if not isinstance(outputs, Tensor) or outputs.shape != expected:
        words = parts.dataset.train.targets.words
        raise entry.mistake(
            f"gives {_what(outputs)} for {expected[0]} images of {expected[1]} {words}; expected "
            f"a tensor {expected}: {_OF_EACH_OUTPUT[type(parts.task).step]}"
        )


def _try_augmentation(
    augmentation: Augmentation, parts: Parts, entry: Entry, images: Tensor
) -> None:
    alone = Pipeline(
        [augmentation],
        [0.0] * images.shape[1],
        [1.0] * images.shape[1],
        interpolation=parts.experiment.dataset.interpolation,
        device=parts.device,
        num_classes=len(parts.dataset.classes),
    )
    samples = torch.arange(len(images), device=parts.device)
    with _errors_as(entry, f"fails on {' x '.join(map(str, images.shape))} images"):
        random = generator(0, "trial", device=parts.device)
        made, targets = alone(images, torch.zeros_like(samples), random, samples)
    if made.shape != images.shape or len(targets) != len(images):
        raise entry.mistake(f"makes {_what(made)} of images {tuple(images.shape)}")


@contextmanager
def _errors_as(entry: Entry, failing: str) -> Iterator[None]:
    """Attribute errors without a line of the user's in the traceback to their component."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if in_user_code(error):
            raise
        text = str(error).strip().partition("\n")[0]
        raise entry.mistake(f"{failing}: {type(error).__name__}: {text}") from error


def _what(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return f"a {type(value).__name__}"
