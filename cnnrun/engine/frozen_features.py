"""Frozen features are computed once; each epoch then trains the later layers on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from cnnrun.components.tasks.training_step import steps_itself
from cnnrun.data.batches import Batches
from cnnrun.data.dataset import Split
from cnnrun.data.decoding_workers import decoding_processes
from cnnrun.data.pipeline import Pipeline
from cnnrun.engine.parts import Parts
from cnnrun.models.surgery import InputsOf, evaluated
from cnnrun.runtime import console
from cnnrun.runtime.distributed import world
from cnnrun.runtime.epoch_table import duration
from cnnrun.runtime.torch_shortcuts import is_known_code

# Limit in bytes for the features of all training and validation samples.
MOST_BYTES = 2**31
# Seconds after which the remaining time is reported.
LONG = 3.0


class IdentityPipeline(Pipeline):
    """The pipeline of samples that need no preparation."""

    def __init__(self) -> None:
        """Nothing to prepare."""

    @property
    def draws(self) -> bool:
        return False

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,  # noqa: ARG002
        samples: Tensor | None = None,  # noqa: ARG002
        epoch: int = 0,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        return images, labels


def on_frozen_features(parts: Parts, batch_size: int) -> Parts | None:
    """The same experiment on frozen features, with the later layers as model, if possible.

    It is possible if all before some layer is frozen to the end, draws no random numbers, keeps no
    statistics and gets the same images in every epoch. The later layers then see what they would
    see in every epoch; randomness there is kept.
    """
    experiment = parts.experiment
    trainable = parts.trainable
    targets_fit = parts.task.targets not in ("pixels", "masks")
    if not trainable.ends_frozen or not trainable.now() or not targets_fit:
        return None
    if steps_itself(parts.task) or not is_known_code(type(parts.task).step):
        return None  # a custom step may need the images themselves
    if experiment.dataset.augment or experiment.training.progressive_from != 1:
        return None
    splits = [split for split in (parts.dataset.train, parts.dataset.validation) if split]
    found = _first_fit(parts, splits[0]) if len(splits[0]) > 1 else None
    if found is None:
        return None
    name, tail, each = found
    if sum(map(len, splits)) * each > MOST_BYTES:
        return None

    def ready(split: Split) -> Split:
        return replace(split, images=_features(parts, name, split, batch_size))

    train = ready(parts.dataset.train)
    validation = ready(parts.dataset.validation) if parts.dataset.validation else None
    # The loop never reads the test split; the whole model is tested at the end.
    none = Split(train.images[torch.arange(0)], train.targets.take(torch.arange(0)))
    dataset = replace(parts.dataset, train=train, validation=validation, test=none)
    return replace(parts, dataset=dataset, model=tail, pipeline=IdentityPipeline(), crop=None)


def _first_fit(parts: Parts, split: Split) -> tuple[str, nn.Module, int] | None:
    """The module whose inputs can be cached, the model from there on, and bytes per sample."""
    trains = {id(p) for p in parts.model.parameters() if p.requires_grad}
    two = Batches(split.take(torch.arange(2)), 2, parts.device).iterate()
    images = parts.pipeline.normalize(next(two)[0])
    for name, tail in _tails(parts.model, sorted(parts.trainable.now())[-1]):
        if not trains <= {id(p) for p in tail.parameters()}:
            continue
        features = _if_fixed(parts, name, images)
        if features is None:
            continue  # something random or stateful is between; further ahead nothing works
        answers = evaluated(parts.model, images)
        if isinstance(answers, Tensor) and torch.equal(evaluated(tail, features), answers):
            return name, tail, features[0].nbytes
    return None


def _tails(model: nn.Module, parameter: str) -> Iterator[tuple[str, nn.Module]]:
    """The last layers of a model from `parameter`'s on, then successively more layers before them.

    Yields: the name of the first of these layers, and all of them as one module.
    """
    name = parameter.rpartition(".")[0]
    if name:
        yield name, model.get_submodule(name)
    while name:
        name, _, own = name.rpartition(".")
        parent = model.get_submodule(name)
        if not isinstance(parent, nn.Sequential):
            if name:
                yield name, parent
            continue
        children = list(dict(parent.named_children()))
        for k in range(children.index(own), -1, -1):
            yield f"{name}.{children[k]}".lstrip("."), parent[k:]


@torch.no_grad()
def _if_fixed(parts: Parts, name: str, images: Tensor) -> Tensor | None:
    """The inputs of the module `name`, if they are the same in training, without side effects."""
    kept = [(buffer, buffer.clone()) for buffer in parts.model.buffers()]
    before, versions = _random_state(parts.device), [b._version for b, _ in kept]
    parts.trainable.start_epoch(0)
    trained = InputsOf(parts.model, name)(images)
    touched = [b._version for b, _ in kept] != versions
    drawn = not torch.equal(_random_state(parts.device), before)
    if touched:
        for buffer, value in kept:
            buffer.copy_(value)
    features = evaluated(InputsOf(parts.model, name), images)
    return None if touched or drawn or not torch.equal(trained, features) else features


def _random_state(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


@torch.no_grad()
@decoding_processes()
def _features(parts: Parts, name: str, split: Split, batch_size: int) -> Tensor:
    """The module's input for each sample of `split`, (N, ...) float32 on the device."""
    found: list[Tensor] = []
    started, done, notified = time.monotonic(), 0, not world().is_main
    for images, _ in Batches(split, batch_size, parts.device).iterate():
        inputs = InputsOf(parts.model, name)
        found.append(evaluated(inputs, parts.pipeline.normalize(images)))
        done += len(images)
        spent = time.monotonic() - started
        if not notified and spent > LONG and done < len(split):
            notified = True
            left = duration(spent / done * (len(split) - done))
            console.note(
                f"computing the frozen features of {len(split):,} images once, {left} left"
            )
    return torch.cat(found)
