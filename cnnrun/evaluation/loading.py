"""Opening a trained network: a run's or a checkpoint's, with its data or without.

The file is untrusted, so every way goes through `config.trust`.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnrun import registry
from cnnrun.config.experiment import Experiment, from_dict, load
from cnnrun.config.own_code import changed, code_of
from cnnrun.config.renamed import present
from cnnrun.config.shipped import names_experiment
from cnnrun.config.trust import consenting, trusted
from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.options import DatasetOptions
from cnnrun.data.sources.known_forms import known_form
from cnnrun.data.targets import KINDS, Labels
from cnnrun.engine.build import rebuild
from cnnrun.engine.build_data import build_dataset
from cnnrun.engine.build_model import build_model
from cnnrun.engine.parts import Parts
from cnnrun.errors import UserError
from cnnrun.evaluation.importing import import_network, names_network
from cnnrun.evaluation.overrides import refuse_without_effect, with_preparation
from cnnrun.runs.checkpoint import Checkpoint, find_checkpoint
from cnnrun.runtime import console

# Parameters of sources that say where files are kept, not which data they are.
_NO_PLACE = {"download", "spool", "spool_gb"}


def open_checkpoint(
    target: Path,
    overrides: Iterable[str] = (),
    plugins: Iterable[str] = (),
    for_scores: bool = False,
) -> tuple[Path, Parts, Checkpoint]:
    """The parts of a run (its best checkpoint) or of a checkpoint file, with trained weights.

    overrides: changes to the stored experiment, e.g. `dataset.root=...` or `device=cpu`.
    for_scores: refuse overrides that would change no score.

    Raises:
        ConfigError: an override without effect.
        UserError: no checkpoint, one that needs what the command line does not allow, or data that
            do not fit it.
    """
    overrides = list(overrides)
    file, checkpoint = _checkpoint_of(target)
    # The model runs on this machine's device, whatever it was trained on.
    experiment = _experiment(file, checkpoint, overrides, plugins, device="auto")
    if for_scores:
        refuse_without_effect(overrides, checkpoint.config, experiment)
    _warn_of_other_code(file, checkpoint, experiment)
    return file, rebuild(checkpoint, experiment, _data_for(experiment, checkpoint)), checkpoint


def _checkpoint_of(target: Path) -> tuple[Path, Checkpoint]:
    """Resolves `target`: a run's best checkpoint, a file, or a library's pretrained network."""
    if not names_network(target):
        file = find_checkpoint(target)
        return file, Checkpoint.load(file)
    found = import_network(target.as_posix())
    for note in found.notes:
        _warn_once(note)
    return target, found.checkpoint


def _data_for(experiment: Experiment, checkpoint: Checkpoint) -> Dataset:
    """The data that a run is scored on: its own, split as for training, or others.

    Other data without splits are scored as a whole. The same data in another place are recognized
    by their fingerprint.
    """
    if not lies_elsewhere(experiment, checkpoint):
        return build_dataset(experiment)
    dataset = build_dataset(experiment, whole=True)
    same = checkpoint.data.get("fingerprint") == dataset.fingerprint
    return build_dataset(experiment) if same and not len(dataset.train) else dataset


def lies_elsewhere(experiment: Experiment, checkpoint: Checkpoint) -> bool:
    """Whether the data differ from those in training: the source, or one of its parameters."""
    now, before = experiment.to_dict()["dataset"], checkpoint.config.get("dataset")
    if not isinstance(before, dict):
        return True
    own = {"name", *now} - (set(DatasetOptions.model_fields) - {"name"}) - _NO_PLACE
    return any(now.get(key) != present(f"dataset.{key}", before.get(key)) for key in own)


def open_run_of(experiment: Experiment, run: Path) -> tuple[Path, Parts, Checkpoint]:
    """As `open_checkpoint`, for a run of the user's own `experiment`.

    Raises:
        UserError: as `open_checkpoint`.
    """
    return open_checkpoint(run, consenting(experiment.to_dict()), experiment.plugins)


def open_trained(
    target: Path, plugins: Iterable[str] = (), device: str = "auto"
) -> tuple[Path, Parts, Checkpoint]:
    """The parts of a run (its best checkpoint) or of a checkpoint file; the data stay unread.

    The data set of these parts knows the classes and the form of an image, and has no samples.

    device: as in a config; by default `auto`, not the run's, which may not exist here.

    Raises:
        UserError: no checkpoint, one that needs plug-ins that are not named, or no such device.
    """
    file, checkpoint = _checkpoint_of(target)
    experiment = _experiment(file, checkpoint, (), plugins, opens_data=False, device=device)
    if experiment.task.name == "stylize":
        raise UserError(f"{target}: style transfer trains one image; there is no network in it")
    _warn_of_other_code(file, checkpoint, experiment, opens_data=False)
    nothing = _without_samples(checkpoint, experiment)
    return file, rebuild(checkpoint, experiment, nothing), checkpoint


def model_of(
    target: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> tuple[nn.Module, tuple[int, int, int]]:
    """The untrained network and the image shape (C, H, W) of an experiment, run or checkpoint.

    Raises:
        UserError: there is none, or an experiment's data are missing.
    """
    if names_experiment(target):
        experiment = load(target, overrides, plugins)
        known = known_form(experiment.dataset)
        if known is None:
            dataset = build_dataset(experiment)
            known = dataset.input_shape, len(dataset.classes)
        shape, classes = known
        return build_model(experiment, shape, classes), shape
    file = find_checkpoint(target)
    checkpoint = Checkpoint.load(file)
    experiment = _experiment(file, checkpoint, overrides, plugins, opens_data=False)
    _warn_of_other_code(file, checkpoint, experiment, opens_data=False)
    channels, height, width = checkpoint.input_shape
    shape, classes = (channels, height, width), len(checkpoint.classes)
    return build_model(experiment, shape, classes, of_checkpoint=True), shape


def _experiment(
    file: Path,
    checkpoint: Checkpoint,
    overrides: Iterable[str],
    plugins: Iterable[str],
    opens_data: bool = True,
    **changes: Any,
) -> Experiment:
    """The experiment of `checkpoint`, as far as an untrusted file may choose it."""
    overrides = with_preparation(overrides, checkpoint.config)
    plugins = list(plugins)
    # A copy: overrides are written into it, while the checkpoint keeps its own.
    values = trusted(deepcopy(checkpoint.config), file, plugins, overrides, opens_data)
    return from_dict({**values, **changes}, f"{file} (config)", overrides, plugins)


def _warn_of_other_code(
    file: Path, checkpoint: Checkpoint, experiment: Experiment, opens_data: bool = True
) -> None:
    """Warn that the user's own code has changed since the checkpoint was trained.

    New plug-ins may be for plots: they did not train it. opens_data: if not, the code of an `own`
    data set is not searched, as a checkpoint may not choose a package.
    """
    values, before = experiment.to_dict(), checkpoint.code or {}
    now = code_of(values if opens_data else {**values, "dataset": None})
    if not opens_data:
        before = {name: found for name, found in before.items() if name in now}
    if words := changed(before, {name: found for name, found in now.items() if name in before}):
        _warn_once(f"{file} was trained with other code: {', '.join(words)} since")


@lru_cache(maxsize=256)
def _warn_once(text: str) -> None:
    """A command may open a run more than once."""
    console.warn(text)


def _without_samples(checkpoint: Checkpoint, experiment: Experiment) -> Dataset:
    images = torch.empty((0, *checkpoint.input_shape), dtype=torch.uint8)
    task: Any = registry.tasks.get(experiment.task.name).factory
    kind = KINDS.get(task.targets, Labels)
    classes = tuple(checkpoint.classes)
    _, height, width = checkpoint.input_shape
    none = Split(images, kind.unknown(0, len(classes), (height, width)))
    return Dataset(classes, none, none)
