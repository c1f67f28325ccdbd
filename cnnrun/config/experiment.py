"""One experiment: read from YAML and the command line, validated once, defaults filled in.

Inside cnnrun these values are trusted. All problems of a file are reported together, each with
file, line, column, key and the nearest valid word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError

from cnnrun import registry
from cnnrun.components.schedules import ScheduleOptions
from cnnrun.config.component_names import ask_libraries
from cnnrun.config.defaults import DEFAULTS, completed
from cnnrun.config.document import Document, dotted_path, read
from cnnrun.config.error_messages import explain
from cnnrun.config.plugins import load_plugins
from cnnrun.config.shipped import find_config
from cnnrun.config.synonyms import accept, accept_names
from cnnrun.config.yaml_words import dump
from cnnrun.data.options import DatasetOptions
from cnnrun.errors import ConfigError, NetworkError, UserError
from cnnrun.models.transfer import Transfer
from cnnrun.registry import Component, Entry, Options
from cnnrun.registry.options import made_model

Positive = Annotated[int, Field(ge=1)]


class Training(Options):
    """The section `training`."""

    epochs: Positive = 10
    """Passes over the training images."""
    patience: Positive | None = None
    """Early stopping: end after this many epochs without a better validation score."""
    monitor: str = "auto"
    """Metric that decides which epoch is best; `auto` is the task's own (accuracy for classify)."""
    checkpoint_every: Annotated[str, Field(pattern=r"^[1-9]\d* (steps|seconds)$")] | None = None
    """Also save every `100 steps` or `60 seconds`; each epoch is saved in any case."""
    accumulate: Positive = 1
    """Gradient accumulation: pieces that a batch goes through the model in, for less memory and the
    same steps (except for batch normalization and dropout).
    """
    auto_batch: bool = False
    """Out of memory: double `accumulate` until a batch fits."""
    checkpoint_activations: bool = False
    """Gradient checkpointing (Chen et al. 2016): blocks keep only their inputs and are computed
    again in the backward pass: less memory, up to half more time, the same bits.
    """
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Gradient clipping: gradients longer than this are shortened to it."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Validate and keep a running average of the weights with this decay, e.g. 0.999."""
    swa: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Stochastic weight averaging (Izmailov et al. 2018): validate and keep the mean of the weights
    after each epoch, from this fraction of the epochs on, e.g. 0.75.
    """
    on_nan: Literal["stop", "skip"] = "stop"
    """What to do with a batch whose loss is not finite: stop, or skip it."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision: compute in 16 bits where that is safe (Micikevicius et al. 2018); scores
    stay in 32.
    """
    compile: bool | Literal["cuda_graphs"] = False
    """Use torch.compile, which pays on GPUs and long runs only; `cuda_graphs` compiles nothing, but
    launches all kernels of a step at once, which pays for small models.
    """
    auto_speed: bool = False
    """Time a few steps with each of `channels_last` and `compile`, and keep the fastest."""
    progressive_from: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Progressive resizing: train on smaller images first, starting at this fraction of height and
    width.
    """
    progressive_until: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Images have grown to their full size after this fraction of the epochs."""
    sync_batch_norm: bool = False
    """On several GPUs: normalize by the batch of all of them."""
    deterministic: bool = False
    """Use only algorithms that give equal bits each time, or fail
    (`torch.use_deterministic_algorithms`).
    """
    draw: bool = True
    """Draw the task's plots when training ends; `cnnrun viz` draws them at any time."""
    channels_last: bool = True
    """Use channels-last memory, which makes convolutions on a CPU or GPU 11-27 % faster."""


class Experiment(Options):
    """The whole YAML file. The sections that name components are narrowed by `experiment_model`."""

    name: Annotated[str, Field(pattern=r"^[^\W_][\w.+-]*$", max_length=100)]
    """Name of the run; by default the name of the file."""
    task: Component
    """What the model learns, which decides what a step is, what is measured and what is drawn."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of initial weights, order of images, augmentation and dropout."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """Where to compute; `auto` is a GPU if there is one, else the CPU."""
    output: str = "runs"
    """Folder of all runs; a run goes to <output>/<name>/<time>-<short id>/."""
    plugins: list[str] = []
    """Python files of your own that register components."""
    dataset: DatasetOptions
    """The images, and how they are chosen, batched and prepared."""
    model: Component
    """The network."""
    initializer: Component
    """How weights are initialized; `default` is what each layer of PyTorch does."""
    loss: Component
    """What training minimizes; each task has a default."""
    optimizer: Component
    """How weights are changed, and the learning rate `lr`."""
    schedule: ScheduleOptions
    """How the learning rate changes during training."""
    transfer: Transfer | None = None
    """Transfer learning and fine-tuning: what is taken from a pretrained network."""
    training: Training = Training()
    """How long to train, and what to keep."""
    loggers: list[Any] = []
    """Where else the log goes: csv, tensorboard, mlflow, wandb; several at once."""

    _document: Document = PrivateAttr(default_factory=lambda: Document("the experiment", {}))

    def error(self, path: Sequence[str | int], message: str) -> ConfigError:
        """An error that only shows when the experiment is built, with the place of its cause."""
        return ConfigError(
            f"{self._document.place(tuple(path))}: {dotted_path(tuple(path))}: {message}"
        )

    @contextmanager
    def located(self, *path: str | int) -> Iterator[None]:
        """Add to an error that only shows on building the place of its cause in the YAML file."""
        try:
            yield
        except ConfigError:
            raise
        except NetworkError as error:
            raise NetworkError(str(self.error(path, str(error)))) from error
        except UserError as error:
            raise self.error(path, str(error)) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with all defaults."""
        return self.model_dump()

    def to_yaml(self) -> str:
        return dump(self.to_dict())


def load(file: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = ()) -> Experiment:
    """Read, override and validate the experiment in `file`, or the shipped one of this name.

    Raises:
        ConfigError: all problems found.
    """
    file = find_config(file)
    document = read(file)
    document.values.setdefault("name", _name_from(file))
    return validate(document, overrides, plugins)


def from_dict(
    values: dict[str, Any], origin: str, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> Experiment:
    """An experiment from plain values, e.g. those in a checkpoint; `origin` names them in errors.

    Raises:
        ConfigError: all problems found.
    """
    return validate(Document(origin, values), overrides, plugins)


# An accepted alias may contain further ones: `trainer: {max_epochs: 5}`.
_ROUNDS = 8


def validate(
    document: Document, overrides: Iterable[str] = (), plugins: Iterable[str] = ()
) -> Experiment:
    for override in overrides:
        document.override(override)
    values = document.values
    files = _plugin_files(document, list(plugins))
    load_plugins(files)
    if files:  # those of the command line are part of the run's identity
        values["plugins"] = files
    experiment = None
    for _ in range(_ROUNDS):
        accept_names(document)
        ask_libraries(document)
        model = experiment_model()
        whole = completed(document)
        try:
            experiment = model.model_validate(whole)
            break
        except ValidationError as error:
            wrong = error
        if not accept(document, whole, wrong, model):
            break
    if experiment is None:
        raise ConfigError(explain(document, wrong, model, whole))
    experiment._document = document
    return experiment


def changed_copy(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """`experiment` with other valid values: by key, or by section and key."""
    update = {
        key: getattr(experiment, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    changed = experiment.model_copy(update=update)
    changed._document = experiment._document
    return changed


def experiment_model() -> type[Experiment]:
    """`Experiment` with section types from what is registered now, plug-ins included.

    Cached for the same components: it takes 0.1 s, and a sweep validates every trial.
    """
    # No section of an experiment names plots, which would import matplotlib.
    kinds = [kind for kind in registry.KINDS.values() if kind is not registry.plots]
    asked_for = [tuple(kind.libraries.asked_for.values()) for kind in kinds]
    return _experiment_model(tuple(map(registry.Registry.entries, kinds)), tuple(asked_for))


@lru_cache(maxsize=8)
def _experiment_model(*_entries: tuple[tuple[Entry, ...], ...]) -> type[Experiment]:
    texts = {key: field.description for key, field in Experiment.model_fields.items()}

    def section(kind: registry.Registry, default: Any = ...) -> Any:
        text = texts[kind.kind]
        return kind.annotation(), Field(default, validate_default=True, description=text)

    loggers: Any = list.__class_getitem__(registry.loggers.annotation())
    sections = {
        "task": section(registry.tasks, DEFAULTS["task"]),
        "dataset": section(registry.datasets),
        "model": section(registry.models),
        "initializer": section(registry.initializers, DEFAULTS["initializer"]),
        "loss": section(registry.losses),
        "optimizer": section(registry.optimizers, DEFAULTS["optimizer"]),
        "schedule": section(registry.schedules, DEFAULTS["schedule"]),
        "loggers": (loggers, Field([], description=texts["loggers"])),
    }
    return made_model("Experiment", Experiment, sections)


def _name_from(file: Path) -> str:
    """A run's name from the file's: `runs/x/2026.../config.yaml` already contains its name."""
    kept = "".join(c if c.isalnum() or c in "._+-" else "_" for c in file.stem)
    return kept.lstrip("._+-") or "experiment"


def _plugin_files(document: Document, named: list[str]) -> list[str]:
    """The `plugins` key, needed before anything else can be validated, and `--plugin` options.

    named: the options; each replaces a file of the same name, which may have moved.
    """
    files = document.values.get("plugins") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ConfigError(f"{document.place(('plugins',))}: plugins: expected a list of files")
    elsewhere = {Path(file).name for file in named}
    kept = [file for file in files if Path(file).name not in elsewhere]
    return list(dict.fromkeys([*kept, *named]))
