"""The batches that an experiment trains on, of which each process takes its slice."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from cnnrun.data.batches import Batches
from cnnrun.data.class_sampler import check_sampler, samples_of_epoch
from cnnrun.engine.divided_batches import refuse_divided_batches
from cnnrun.engine.parts import Parts
from cnnrun.engine.progressive_resizing import check_sizes
from cnnrun.engine.validation import evaluation_batches
from cnnrun.runtime.distributed import World, local_slice
from cnnrun.runtime.randomness import shuffled


def training_and_validation(parts: Parts, here: World) -> tuple[Batches, Batches]:
    """The batches of both splits for this process, `here`.

    Raises:
        ConfigError: the experiment can't be trained on these data, or in this many processes.
    """
    experiment = parts.experiment
    own_slice = partial(local_slice, here=here)
    training = Batches(
        parts.dataset.train,
        experiment.dataset.batch_size,
        parts.device,
        parts.crop,
        own_slice,
        smallest=2 * here.size,  # two samples per process
    )
    validation = evaluation_batches(parts, "validation", local_slice=own_slice)
    if not training.samples:
        raise experiment.error(["dataset"], "there are no training images")
    with experiment.located("dataset", "sampler"):
        check_sampler(experiment.dataset.sampler, parts.dataset)
    if training.size_of(0) < here.size:
        message = f"too small for {here.size} processes"
        raise experiment.error(["dataset", "batch_size"], message)
    if experiment.training.patience and not validation.samples:
        message = "waits for a better validation score, and there is no validation split"
        raise experiment.error(["training", "patience"], message)
    with experiment.located("training", "epochs"):
        parts.task.check_epochs(parts.model, experiment.training.epochs)
    check_sizes(parts)
    refuse_divided_batches(parts, here.size)
    return training, validation


def order_of(parts: Parts, epoch: int) -> Tensor:
    """The training samples' order in `epoch`, from 0: (N,) int64 on the CPU."""
    split, experiment = parts.dataset.train, parts.experiment
    seed = experiment.seed
    samples = samples_of_epoch(split, experiment.dataset.sampler, seed, epoch)
    return shuffled(len(split), seed, epoch, split.groups, split.groups_at_once, samples)
