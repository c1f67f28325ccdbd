"""The network of an experiment: named, initialized, or taken over from another one."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from cnnrun import registry
from cnnrun.components.initializers import initialize
from cnnrun.config.experiment import Experiment, changed_copy
from cnnrun.errors import UserError
from cnnrun.models.transfer import Transfer, freeze, head_name, restructure
from cnnrun.runs.checkpoint import Checkpoint, find_checkpoint
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.randomness import seed_default
from cnnrun.runtime.weights import check_fit, load_weights, read_weights, unwrapped

# How torch says that a tensor can't be had.
_TOO_LARGE = re.compile("memory|overflow|too large|size calculation", re.IGNORECASE)


def build_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The model, untrained, in the shape that its weights have in a checkpoint."""
    experiment = _without_weights(experiment)
    whole = build_whole_model(experiment, input_shape, num_classes)
    if experiment.transfer is None:
        return whole
    with experiment.located("transfer"):
        transfer = experiment.transfer.expanded(whole)
        return restructure(whole, transfer, input_shape, num_classes)


def _without_weights(experiment: Experiment) -> Experiment:
    """`experiment` whose model fetches none of its own weights, as a checkpoint has them."""
    if not getattr(experiment.model, "weights", None):
        return experiment
    return changed_copy(experiment, {"model": {"weights": None}})


def refuse_absurd_model(
    experiment: Experiment,
    input_shape: tuple[int, ...],
    num_classes: int,
    weights: dict[str, Tensor],
) -> None:
    """Compare a checkpoint's weights with the model it names before memory is taken for that.

    Raises:
        UserError: they do not fit.
    """
    try:
        with torch.device("meta"):
            model = build_model(experiment, input_shape, num_classes)
    except UserError:
        raise
    except Exception:
        return  # a model that can't be built without memory
    check_fit(model, weights)


def build_whole_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """The model that is named, as it initializes itself from the stream (seed, "model")."""
    seed_default(torch.device("cpu"), experiment.seed, "model")
    with experiment.located("model"):
        try:
            model: nn.Module = registry.models.build(
                experiment.model, input_shape=input_shape, num_classes=num_classes
            )
        except (MemoryError, RuntimeError) as error:
            told = str(error).partition("\n")[0]
            if not isinstance(error, MemoryError) and not _TOO_LARGE.search(told):
                raise
            raise UserError(f"too large for this machine ({told})") from error
    return model


def build_initialized_model(
    experiment: Experiment, input_shape: tuple[int, ...], num_classes: int, resumes: bool = False
) -> tuple[nn.Module, list[nn.Module], Transfer | None, Checkpoint | None]:
    """The model as training begins: initialized, or with transferred weights.

    resumes: whether a checkpoint's weights follow; then none are fetched from elsewhere.

    Returns: the model, its frozen modules, what `transfer` means for it, and the checkpoint of the
    run that it learnt from.
    """
    if resumes:
        experiment = _without_weights(experiment)
    model = build_whole_model(experiment, input_shape, num_classes)
    seed_default(torch.device("cpu"), experiment.seed, "initializer")
    with experiment.located("initializer"):
        initialize(model, experiment.initializer)
    if experiment.transfer is None:
        return model, [], None, None
    with experiment.located("transfer"):
        transfer = experiment.transfer.expanded(model)
        source = None
        if not resumes:
            source = transfer_weights(experiment, model, transfer, input_shape, num_classes)
        model = restructure(model, transfer, input_shape, num_classes)
        if transfer.cut or transfer.head is not None:
            initialize(model.get_submodule(head_name(model)), experiment.initializer)
        return model, freeze(model, transfer), transfer, source


def transfer_weights(
    experiment: Experiment,
    model: nn.Module,
    transfer: Transfer,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> Checkpoint | None:
    """Load the weights that `transfer` names into `model`, all but its head.

    Returns: the checkpoint that they come from, if it is one of cnnrun's.
    """
    if transfer.weights is None:
        return None
    if transfer.weights == "imagenet":
        if "weights" not in type(experiment.model).model_fields:
            raise UserError("weights: imagenet: only torchvision/... and timm/... models have them")
        pretrained = experiment.model.model_copy(update={"weights": "DEFAULT"})
        source = registry.models.build(pretrained, input_shape=input_shape, num_classes=num_classes)
        load_weights(model, source.state_dict(), apart=head_name(model))
        return None
    file = find_checkpoint(expanded(transfer.weights))
    load_weights(model, _without_foreign_parts(read_weights(file), model), apart=head_name(model))
    try:
        return Checkpoint.load(file)
    except UserError:
        return None  # weights of another program


def _without_foreign_parts(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`weights` without those of whole parts that `model` lacks: the decoder of an autoencoder."""
    own = {_part(key) for key in model.state_dict()}
    known = {key: value for key, value in unwrapped(weights).items() if _part(key) in own}
    # With nothing in common they are another model's: all stay, to be named as unexpected.
    return known or weights


def _part(key: str) -> str:
    return key.partition(".")[0]
