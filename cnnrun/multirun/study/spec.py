"""The study's YAML file: a base experiment, its variants, seeds, and plots.

    about: Does a network forgive any initial weights?
    base: ../mnist_mlp.yaml        # from this file's folder
    set: {training.epochs: 5}      # changes for all variants
    variants:                      # by name: the changes that make each
      zeros: {initializer: zeros}
      kaiming: {initializer: kaiming_normal}
    contrasts: [[kaiming, zeros]]  # what is tested; by default each against each
    seeds: 3
    plots: [curves, weights]

A variant may have a `base` of its own. Runs under `first` are trained before, once; a variant takes
over the weights of such a run by `transfer.weights: run:NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from cnnrun.config.document import Document
from cnnrun.config.identity import why_not_set
from cnnrun.config.shipped import find_config
from cnnrun.errors import ConfigError, did_you_mean
from cnnrun.multirun.settings import Settings, base_file, read_as
from cnnrun.multirun.sweep.spec import Positive, Seed
from cnnrun.registry import Options
from cnnrun.runtime.paths import expanded

Plot = Literal["curves", "parameters", "weights", "activations", "invariance"]
Name = Annotated[str, Field(pattern=r"^[^\W_][\w.+-]*$", max_length=40)]

RUN = "run:"
"""Prefix of the name of a run under `first`, meaning its directory."""


class Study(Options):
    """The whole file."""

    about: str = ""
    """The question, in a sentence or two."""
    base: str
    """The experiment that variants change: a file, or the name of a shipped one."""
    set: Settings = {}
    """Changes that all variants have, by dotted key."""
    first: dict[Name, Settings] = {}
    """Runs that are trained before the variants, by name: changes to the base, or `base` and
    changes to that.
    """
    variants: Annotated[dict[Name, Settings], Field(min_length=2)]
    """Changes of each variant, by its name."""
    contrasts: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []
    """Pairs of variants to test; the fewer, the more can be claimed."""
    seeds: Positive | Annotated[list[Seed], Field(min_length=1)] = 3
    """Number of seeds that each variant is trained with, from the base's seed on, or a list of
    seeds.
    """
    seeds_in_parallel: bool = False
    """Train the seeds of a variant together in one process, which pays for small models."""
    metric: str | None = None
    """Metric that variants are compared by; by default the task's own."""
    plots: list[Plot] = []
    """Plots to draw in addition to the comparison."""
    workers: Positive | None = None
    """Processes side by side; by default one for each GPU, else one."""
    name: Name
    """Name of the study; by default the file's name."""
    output: str = "studies"
    """Folder of all studies."""

    _document: Document = PrivateAttr(default_factory=lambda: Document("the study", {}))

    @property
    def document(self) -> Document:
        """What the study's file says, with places."""
        return self._document

    @model_validator(mode="after")
    def _known_names(self) -> Study:
        for name in (name for pair in self.contrasts for name in pair):
            if name not in self.variants:
                hint = did_you_mean(name, self.variants)
                raise ValueError(f"contrasts: '{name}' is none of the variants{hint}")
        return self

    @property
    def folder(self) -> Path:
        return expanded(self.output) / self.name

    def base_file(self, settings: Settings) -> Path:
        """The experiment that `settings` change."""
        return base_file(self._document.file, str(settings.get("base", self.base)))

    def place(self, section: str, name: str, key: str) -> tuple[str, str]:
        """`file:line:column` of what a variant sets `key` to, and of the key."""
        for path in ((section, name, key), ("set", key)):
            if path in self._document.places:
                return self._document.place(path), self._document.place(path, key=True)
        return self._document.file, self._document.file

    def error(self, section: str, name: str, key: str, message: str) -> ConfigError:
        return ConfigError(f"{self.place(section, name, key)[1]}: {key}: {message}")


def load(file: Path, overrides: Iterable[str] = ()) -> Study:
    """Read and validate the study in `file`, or the shipped one of that name.

    overrides: `key=value`; a key that a study doesn't have changes every experiment.

    Raises:
        ConfigError: all problems found.
    """
    study, document = read_as(Study, find_config(file, "study"), overrides, ("first", "variants"))
    study._document = document
    for section, variants in (("first", study.first), ("variants", study.variants)):
        for name, settings in variants.items():
            _check(study, section, name, settings)
    return study


def _check(study: Study, section: str, name: str, settings: Settings) -> None:
    known = study.first if section == "variants" else {}
    for key, value in settings.items():
        if key != "base" and (why := why_not_set(key)):
            raise study.error(section, name, key, f"can't vary; {why}")
        if (wanted := run_named(value)) and wanted not in known:
            message = f"no run '{wanted}' is trained `first`{did_you_mean(wanted, known)}"
            raise study.error(section, name, key, message)


def run_named(value: Any) -> str:
    """NAME of the text `run:NAME`; empty for other values."""
    return value.removeprefix(RUN) if isinstance(value, str) and value.startswith(RUN) else ""
