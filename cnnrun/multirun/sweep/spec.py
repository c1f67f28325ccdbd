"""The sweep's YAML file: a base experiment, what varies, how often, and what trials are ranked by.

    base: digits_cnn.yaml          # from this file's folder
    set: {training.epochs: 5}      # changes for all trials
    grid: {optimizer.lr: [0.1, 0.01], model.dropout: [0, 0.5]}
    seeds: 3
    workers: 2

instead of `grid`, `random` or `optuna`:

    random: {trials: 8, space: {optimizer.lr: {log_uniform: [1e-4, 1e-1]}}}
    optuna: {trials: 20, pruner: asha, space: {model.dropout: {uniform: [0, 0.5]}}}
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from cnnrun.config.document import Document
from cnnrun.config.identity import why_not_varied
from cnnrun.config.shipped import find_config
from cnnrun.errors import ConfigError
from cnnrun.multirun.settings import Settings, base_file, read_as
from cnnrun.multirun.sweep.space import Grid, Range, Space, grid_points, random_points
from cnnrun.registry import Options
from cnnrun.runtime.paths import expanded

NAME = r"^[^\W_][\w.+-]*$"
"""What a sweep may be called; it is a folder's name."""

Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class RandomSearch(Options):
    """Independent draws (Bergstra and Bengio 2012)."""

    trials: Positive
    """Number of trials."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed of the draws."""
    space: Space
    """What to draw, by dotted key."""


class OptunaSearch(Options):
    """Each trial chosen after those before it: TPE (Bergstra et al. 2011), bad ones cut short."""

    trials: Positive
    """Number of trials."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Random seed of the sampler."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How settings are chosen: `tpe` learns from the trials before, `random` does not."""
    pruner: Literal["none", "median", "asha"] = "none"
    """Which trials are cut short: with `median`, those worse than half of the others at that epoch;
    with `asha`, most at each rung (Li et al. 2020).
    """
    space: Space
    """What to choose from, by dotted key."""


class Sweep(Options):
    """The whole file."""

    base: str
    """The experiment that trials change: a file, or the name of a shipped one."""
    set: dict[str, Any] = {}
    """Changes to the base that all trials have, by dotted key."""
    grid: Grid | None = None
    """Grid search: lists of values by dotted key, all combined."""
    random: RandomSearch | None = None
    """Random search."""
    optuna: OptunaSearch | None = None
    """Search that learns from the trials before (Optuna)."""
    seeds: Positive | Annotated[list[Seed], Field(min_length=1)] = 1
    """Number of seeds that each trial is trained with, from the base's seed on, or a list of seeds.
    """
    seeds_in_parallel: bool = False
    """Train the seeds of a trial together in one process, which pays for small models."""
    metric: str = "auto"
    """Metric of the validation set that trials are compared by; by default the one that chooses
    epochs.
    """
    workers: Positive | None = None
    """Processes side by side; by default one for each GPU, else one."""
    name: Annotated[str, Field(pattern=NAME, max_length=80)]
    """Name of the sweep; by default the file's name."""
    output: str = "sweeps"
    """Folder of all sweeps."""
    storage: str | None = None
    """Database that workers get their trials from; by default an SQLite file in the sweep's folder.
    """

    _document: Document = PrivateAttr(default_factory=lambda: Document("the sweep", {}))

    @property
    def document(self) -> Document:
        """What the sweep's file says, with places."""
        return self._document

    @model_validator(mode="after")
    def _one_search(self) -> Sweep:
        given = [kind for kind in ("grid", "random", "optuna") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError("a sweep has exactly one of grid, random and optuna")
        if self.seeds_in_parallel and self.optuna and self.optuna.pruner != "none":
            raise ValueError("seeds_in_parallel: a pruner stops single seeds; set pruner: none")
        return self

    @property
    def kind(self) -> Literal["grid", "random", "optuna"]:
        return "grid" if self.grid else "random" if self.random else "optuna"

    @property
    def folder(self) -> Path:
        return expanded(self.output) / self.name

    @property
    def base_file(self) -> Path:
        return base_file(self._document.file, self.base)

    @property
    def space(self) -> dict[str, Range]:
        """What varies, a grid's lists as choices."""
        if self.grid:
            return {key: Range(choice=values) for key, values in self.grid.items()}
        search = self.random or self.optuna
        assert search
        return search.space

    def points(self) -> list[Settings | None]:
        """One per trial; None if the point is chosen when its trial starts."""
        if self.grid:
            return list(grid_points(self.grid))
        if self.random:
            return list(random_points(self.random.space, self.random.trials, self.random.seed))
        assert self.optuna
        return [None] * self.optuna.trials

    def place(self, key: str, value: Any = None) -> tuple[str, str]:
        """`file:line:column` of what `key` is set to (of `value` in its list) and of the key."""
        inside: tuple[str, ...]
        for inside in (("grid",), ("random", "space"), ("optuna", "space"), ("set",)):
            path = (*inside, key)
            if path in self._document.places:
                at_key = self._document.place(path, key=True)
                return self._document.place(self._path_of(path, key, value)), at_key
        return self._document.file, self._document.file

    def _path_of(self, path: tuple[str, ...], key: str, value: Any) -> tuple[str | int, ...]:
        values = self.space[key].choice if key in self.space else None
        if not values or value not in values:
            return path
        inside = () if (*path, 0) in self._document.places else ("choice",)
        return (*path, *inside, values.index(value))

    def error(self, key: str, message: str) -> ConfigError:
        return ConfigError(f"{self.place(key)[1]}: {key}: {message}")


def load(file: Path, overrides: Iterable[str] = ()) -> Sweep:
    """Read and validate the sweep in `file`.

    overrides: `key=value`; a key that a sweep doesn't have changes the base experiment.

    Raises:
        ConfigError: all problems found.
    """
    sweep, document = read_as(Sweep, find_config(file, "sweep"), overrides)
    sweep._document = document
    for key in sweep.space:
        if why := why_not_varied(key):
            raise sweep.error(key, f"can't vary; {why}")
    return sweep
