"""The network of an experiment: built, initialized, or with weights from another one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.initializers import initialize
from cnnrun.config.experiment import Experiment
from cnnrun.engine.out_of_memory import fitting_memory
from cnnrun.errors import ConfigError, UserError
from cnnrun.models import presets
from cnnrun.models.surgery import head_name, restructure
from cnnrun.models.trainable import Trainable
from cnnrun.models.transfer import Transfer
from cnnrun.runs.checkpoint import Checkpoint, Normalization, find_checkpoint
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.weight_names import renamed
from cnnrun.runtime.weights import (
    Loaded,
    check_fit,
    is_below,
    load_weights,
    noting_loaded,
    read_weights,
    some,
    under_names_of,
    without_prefix,
)


class Built(NamedTuple):
    """A model at the start of training, and facts about it.

    transfer: the experiment's `transfer` for this model, presets expanded.
    normalization: of the images that its weights were trained on, if known. notes: for the user,
    about its weights.
    """

    model: nn.Module
    trainable: Trainable
    transfer: Transfer | None
    normalization: Normalization | None
    notes: list[str]


def build_model(
    experiment: Experiment,
    input_shape: tuple[int, ...],
    num_classes: int,
    of_checkpoint: bool = False,
) -> nn.Module:
    """The untrained model, with the shapes of its weights in a checkpoint.

    of_checkpoint: `experiment` is a checkpoint's; a transfer preset in it means what it did in
        earlier versions.
    """
    # Its weights come from the checkpoint; nothing is downloaded.
    whole = build_whole_model(_with_weights(experiment, None), input_shape, num_classes)
    if experiment.transfer is None:
        return whole
    with _located_in_transfer(experiment):
        transfer = (
            presets.of_old_checkpoint(experiment.transfer, whole)
            if of_checkpoint
            else presets.expanded(experiment.transfer, whole, input_shape)
        )
        return restructure(whole, transfer, input_shape, num_classes)[0]


def refuse_absurd_model(
    experiment: Experiment,
    input_shape: tuple[int, ...],
    num_classes: int,
    weights: dict[str, Tensor],
) -> None:
    """Compare a checkpoint's weights with its model before memory is allocated for it.

    Raises:
        UserError: they do not fit.
    """
    try:
        # Models that load weights themselves are refused where they do.
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build_model(experiment, input_shape, num_classes, of_checkpoint=True)
    except UserError:
        raise
    except Exception:
        return  # a model that can't be built without memory
    check_fit(model, weights)


def build_trained_model(experiment: Experiment, checkpoint: Checkpoint) -> nn.Module:
    """The model of a checkpoint with its weights. experiment: what it was trained on.

    Raises:
        UserError: the weights do not fit the model that it names.
    """
    shape, classes = tuple(checkpoint.input_shape), len(checkpoint.classes)
    refuse_absurd_model(experiment, shape, classes, checkpoint.model)
    model = build_model(experiment, shape, classes, of_checkpoint=True)
    load_weights(model, checkpoint.model)
    return model


def build_whole_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The named model, with its own initialization from the stream (seed, "model")."""
    seed_default(torch.device("cpu"), experiment.seed, "model")
    with experiment.located("model"), fitting_memory(experiment, "model"):
        model: nn.Module = registry.models.build(
            experiment.model, input_shape=input_shape, num_classes=num_classes
        )
    return model


def build_initialized_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int, resumes: bool = False
) -> Built:
    """The model at the start of training: initialized, except for loaded weights.

    resumes: whether a checkpoint's weights follow; then no others are fetched.

    Raises:
        ConfigError: the weights or `transfer` do not fit the model.
    """
    named = _with_weights(experiment, None) if resumes else _with_pretrained(experiment)
    with noting_loaded() as loaded:
        model = build_whole_model(named, input_shape, num_classes)
    seed_default(torch.device("cpu"), experiment.seed, "initializer")
    with experiment.located("initializer"):
        initialize(model, experiment.initializer, loaded)
    normalization = _own_normalization(model)
    notes = _limits_of_initializer(experiment, model, loaded)
    if experiment.transfer is None:
        return Built(model, Trainable(model), None, normalization, notes)
    with _located_in_transfer(experiment):
        transfer = presets.expanded(experiment.transfer, model, input_shape)
    with noting_loaded(loaded):
        source = None if resumes else load_transferred(experiment, model)
    with _located_in_transfer(experiment):
        model, new_head = restructure(model, transfer, input_shape, num_classes)
        if new_head:
            initialize(model.get_submodule(new_head), experiment.initializer, loaded)
        trainable = Trainable(model, transfer, new_head, input_shape)
    if not resumes:
        notes += _frozen_at_random(trainable, loaded)
    if source:
        normalization = source.normalization
    return Built(model, trainable, transfer, normalization, notes)


def _frozen_at_random(trainable: Trainable, loaded: Loaded) -> list[str]:
    """A note on layers that are frozen as they were initialized, which is seldom meant."""
    frozen = [n for n in trainable.frozen() if trainable.model.get_parameter(n) not in loaded]
    if not frozen:
        return []
    told = "transfer: what is frozen has random weights: "
    if not loaded:
        return [told + "transfer.weights names no trained ones"]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in frozen)
    return [f"{told}no trained ones were loaded for {some(layers, 3)}; name what to freeze"]


@contextmanager
def _located_in_transfer(experiment: Experiment) -> Iterator[None]:
    """Add the place of a key to an error whose message starts with that key of `transfer`."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        key, _, message = str(error).partition(": ")
        if key in Transfer.model_fields:
            raise experiment.error(["transfer", key], message) from error
        raise experiment.error(["transfer"], str(error)) from error


def _with_weights(experiment: Experiment, weights: str | None) -> Experiment:
    """`experiment` with other weights from its model's library, if it has any."""
    if "weights" not in type(experiment.model).model_fields:
        return experiment
    model = experiment.model.model_copy(update={"weights": weights})
    return experiment.model_copy(update={"model": model})


def _with_pretrained(experiment: Experiment) -> Experiment:
    """`experiment` with `transfer.weights: imagenet` moved to the model's own key for it.

    Raises:
        ConfigError: both keys name weights, or the model has none.
    """
    wanted = experiment.transfer.weights if experiment.transfer else None
    own = getattr(experiment.model, "weights", None)
    if wanted is None:
        return experiment
    if wanted != "imagenet":
        if own is None or "weights" not in type(experiment.model).model_fields:
            return experiment
        message = f"model.weights also names trained weights ({own}); leave one of the two out"
        raise experiment.error(["transfer", "weights"], message)
    if "weights" not in type(experiment.model).model_fields:
        message = "imagenet: only torchvision/... and timm/... models have them"
        raise experiment.error(["transfer", "weights"], message)
    return _with_weights(experiment, own or "DEFAULT")


def _own_normalization(model: nn.Module) -> Normalization | None:
    known = getattr(model, "trained_normalization", None)
    return Normalization(*known) if known else None


def _limits_of_initializer(experiment: Experiment, model: nn.Module, loaded: Loaded) -> list[str]:
    """A note on what the initializer applies to if pretrained weights were loaded."""
    name = experiment.initializer.name
    if not loaded or name == "default":
        return []
    new = [key for key, parameter in model.named_parameters() if parameter not in loaded]
    layers = dict.fromkeys(key.rpartition(".")[0] for key in new)
    return [f"initializer: {name} for {some(layers) or 'nothing'}; trained weights stay"]


def load_transferred(experiment: Experiment, model: nn.Module) -> Checkpoint | None:
    """Load the weights from the file or run that `transfer` names into `model`, except its head.

    Those of another network may be of the model's encoder (a U-Net's), which they then fill.

    Returns: the checkpoint they come from, if it is cnnrun's.
    """
    transfer = experiment.transfer
    if transfer is None or transfer.weights is None or transfer.weights == "imagenet":
        return None
    with experiment.located("transfer", "weights"):
        file = _weights_file(expanded(transfer.weights))
        weights = read_weights(file)
        if transfer.rename:
            weights = renamed(without_prefix(model.state_dict(), weights), transfer.rename)
        head = None if hasattr(model, "decode") else head_name(model)
        encoder = getattr(model, "encoder_network", None)
        if encoder is not None and not _has_common_names(model, weights, head):
            own = encoder.state_dict()
            found = {k: v for k, v in without_prefix(own, weights).items() if k in own}
            load_weights(encoder, found or weights)
        else:
            load_weights(model, under_names_of(model, weights), apart=head)
    try:
        return Checkpoint.load(file)
    except UserError:
        return None  # weights of another program


def _has_common_names(model: nn.Module, weights: Mapping[str, Tensor], head: str | None) -> bool:
    """Whether the names of any weights are the model's, apart from its head."""
    own = model.state_dict()
    common = own.keys() & without_prefix(own, weights).keys()
    return any(head is None or not is_below(name, head) for name in common)


def _weights_file(path: Path) -> Path:
    if path.suffix and not path.exists():
        raise UserError(f"{path}: there is no such file or run directory")
    return find_checkpoint(path)
