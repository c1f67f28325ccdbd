"""The network that judges style, as the loss names it: a library's, of cnnrun, or a run's."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from cnnrun.components.losses.judges import JUDGES, OpenJudge, names_run
from cnnrun.config.experiment import from_dict
from cnnrun.config.trust import trusted
from cnnrun.data import normalize
from cnnrun.data.normalize import Moments, Normalize
from cnnrun.engine.build_model import build_trained_model
from cnnrun.errors import UserError
from cnnrun.models.named_network import named_network
from cnnrun.models.network_features import Judge, NetworkFeatures
from cnnrun.models.zoo_weights import LIBRARIES, names_weights_file, pretrained
from cnnrun.registry import Named
from cnnrun.runs.checkpoint import Checkpoint, Normalization, find_checkpoint
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.weights import read_weights, under_names_of

# Layers after the feature maps may be made for a size; those are left out then.
_SHAPE, _CLASSES = (3, 224, 224), 1000
_SEED = 0


def judge_opener(plugins: list[str]) -> OpenJudge:
    """See `OpenJudge`. plugins: those of the experiment, which the judge may need, too."""

    def opened(
        network: Named,
        weights: str | None,
        normalize: Normalize,
        layers: list[str],
        *,
        average: bool,
    ) -> NetworkFeatures:
        judge = open_judge(network, weights, normalize, plugins)
        return NetworkFeatures(judge, layers, average)

    return opened


def open_judge(wanted: Named, weights: str | None, config: Normalize, plugins: list[str]) -> Judge:
    """The network that is named, with the weights that are, see `NeuralStyle`.

    Raises:
        UserError: there is no such network, or no such weights for it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)  # of random weights, and of what is replaced
        if isinstance(wanted, str) and names_run(wanted):
            return _of_run(wanted, weights, config, plugins)
        return _by_name(wanted, weights, config)


def _of_run(run: str, weights: str | None, config: Normalize, plugins: list[str]) -> Judge:
    """The network of a run (its best checkpoint) or of a checkpoint file.

    Raises:
        UserError: there is none, it needs plug-ins, or it takes other images than gray or RGB.
    """
    if not expanded(run).exists():
        raise UserError(f"network: no model, run or checkpoint is called '{run}'")
    if weights is not None:
        raise UserError(f"weights: {run} has weights of its own; leave the key out")
    file = find_checkpoint(expanded(run))
    checkpoint = Checkpoint.load(file)
    values = trusted(deepcopy(checkpoint.config), file, plugins, opens_data=False)
    experiment = from_dict({**values, "device": "auto"}, f"{file} (config)", (), plugins)
    channels = checkpoint.input_shape[0]
    if channels not in (1, 3):
        raise UserError(f"network: {run} takes images of {channels} channels, and not gray or RGB")
    model = build_trained_model(experiment, checkpoint)
    return Judge(model, run, *_moments(config, channels, checkpoint.normalization))


def _by_name(wanted: Named, weights: str | None, config: Normalize) -> Judge:
    """A model of cnnrun, torchvision or timm with weights of its own, from a file, or random.

    Raises:
        UserError: no such model or weights, or it is unknown how images were normalized for these.
    """
    network = JUDGES.checked(wanted)
    of_library = network.name.partition("/")[0] in LIBRARIES
    own = {None: "DEFAULT", "imagenet": "DEFAULT", "random": None}.get(weights, weights)
    if own == "DEFAULT" and not of_library:
        message = "weights: only torchvision/... and timm/... networks have weights of their own; "
        raise UserError(message + "name a file, a run, or `random`")
    file = expanded(own) if own and names_weights_file(own, of_library) else None
    model, name = named_network(
        "network",
        network,
        None if file or not own else own,
        _SHAPE,
        _CLASSES,
        JUDGES,
    )
    found: dict[str, Tensor] | None = None
    known: Normalization | None
    if file:
        found = under_names_of(model, read_weights(find_checkpoint(file)))
        known = _of_checkpoint(find_checkpoint(file)) or (of_library and _of_library(name)) or None
        if known and len(known.mean) != _SHAPE[0]:
            message = (
                f"is of a network of other images than RGB; name the run itself: network: {own}"
            )
            raise UserError(f"weights: {own} {message}")
    elif own is None:
        known = Normalization(list(normalize.IMAGENET_MEAN), list(normalize.IMAGENET_STD))
    else:
        known = Normalization(*model.trained_normalization)  # type: ignore[misc]
    return Judge(model, name, *_moments(config, _SHAPE[0], known), found)


def _of_checkpoint(file: Path) -> Normalization | None:
    try:
        return Checkpoint.load(file).normalization
    except UserError:
        return None  # weights of another program


def _of_library(name: str) -> Normalization | None:
    known = pretrained(name)
    return Normalization(list(known.mean), list(known.std)) if known else None


def _moments(config: Normalize, channels: int, known: Normalization | None) -> Moments:
    if config != "auto":
        return normalize.without_images(config, channels)
    if known is None:
        raise UserError(
            "normalize: the weights do not say how images were normalized for them: imagenet, "
            "half, none or {mean: [...], std: [...]} in units of 0..1"
        )
    return known.mean, known.std
