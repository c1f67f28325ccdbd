"""Frozen features are computed once: each epoch then trains the head alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from cnnrun.data.batches import Batches
from cnnrun.data.dataset import Split
from cnnrun.data.pipeline import Pipeline
from cnnrun.engine.parts import Parts
from cnnrun.models.transfer import head_input, head_name

# Features of all training and validation samples together may take so many bytes.
MOST_BYTES = 2**31


class AsTheyAre(Pipeline):
    """The pipeline of what is ready to be computed with."""

    def __init__(self) -> None:
        """Nothing to prepare."""

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None,  # noqa: ARG002
        samples: Tensor | None = None,  # noqa: ARG002
        epoch: int = 0,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        return images, labels


def with_features_ready(parts: Parts, batch_size: int) -> Parts | None:
    """The same experiment on the frozen features, with the head for a model; None if it can't be.

    It can be where nothing before the head trains or is random: no augmentation, everything but
    the head frozen to the end. What the head then sees is what it would see in every epoch.
    """
    if not parts.transfer or parts.transfer.unfreeze_at or parts.experiment.dataset.augment:
        return None
    name = head_name(parts.model)
    head = parts.model.get_submodule(name)
    trains = {id(p) for p in parts.model.parameters() if p.requires_grad}
    if not trains or not trains <= {id(p) for p in head.parameters()}:
        return None
    splits = [split for split in (parts.dataset.train, parts.dataset.validation) if split]
    first = _features(parts, name, splits[0].take(torch.arange(1)), 1)
    if not _head_is_last(parts, name, head, splits[0].take(torch.arange(1))):
        return None
    if sum(map(len, splits)) * first.nbytes > MOST_BYTES:
        return None

    def ready(split: Split) -> Split:
        return replace(split, images=_features(parts, name, split, batch_size))

    train = ready(parts.dataset.train)
    validation = ready(parts.dataset.validation) if parts.dataset.validation else None
    # The loop never looks at the test split; the whole model is tested when it ends.
    none = train.take(torch.arange(0))
    dataset = replace(parts.dataset, train=train, validation=validation, test=none)
    return replace(parts, dataset=dataset, model=head, pipeline=AsTheyAre(), crop=None)


@torch.no_grad()
def _features(parts: Parts, name: str, split: Split, batch_size: int) -> Tensor:
    """What the head is given for each sample of `split`, (N, ...) float32 on the device."""
    batches = Batches(split, batch_size, parts.device).iterate()
    inputs = (parts.pipeline.normalize(images) for images, _ in batches)
    return torch.cat([head_input(parts.model, name, batch) for batch in inputs])


@torch.no_grad()
def _head_is_last(parts: Parts, name: str, head: nn.Module, one: Split) -> bool:
    """Whether the model's answer is the head's: nothing is computed beside or after it."""
    images = parts.pipeline.normalize(one.images[torch.arange(1)].to(parts.device))
    training = parts.model.training
    parts.model.eval()
    same = torch.equal(head(head_input(parts.model, name, images)), parts.model(images))
    parts.model.train(training)
    return same
