"""From a sweep to its runs: every point resolved to complete experiments."""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnrun.config import experiment as config
from cnnrun.config import identity
from cnnrun.config.document import read
from cnnrun.config.experiment import Experiment
from cnnrun.config.identity import key_of
from cnnrun.config.yaml_words import dump
from cnnrun.errors import ConfigError, UserError
from cnnrun.metrics import Metric
from cnnrun.multirun.comparable import ranking_metric
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.settings import Settings, apply, changes, to_text
from cnnrun.multirun.sweep.spec import Sweep


class Plan:
    """The plan of a sweep."""

    def __init__(
        self,
        sweep: Sweep,
        plugins: Iterable[str] = (),
        allow: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """allow: called with every config before it is read; raises `UserError` to refuse it."""
        self.sweep = sweep
        self._allow = allow
        self.plugins = tuple(plugins)
        self.document = read(sweep.base_file)
        self.document.values.setdefault("name", sweep.base_file.stem)
        apply(self.document, sweep.set, sweep.place)
        self.points = sweep.points()
        self._resolved: dict[str, Experiment] = {}
        self.check()

    def check(self) -> None:
        """Validate every point; for a search space, every choice and both ends of each range.

        Raises:
            ConfigError: all problems found.
        """
        problems: dict[str, None] = {}
        experiments = []
        for settings in self._samples():
            try:
                experiments.append(self.resolve(settings))
            except ConfigError as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise ConfigError(problems)
        self.experiment = experiments[-1]
        self.metric = self._metric(experiments)

    def _samples(self) -> list[Settings]:
        known = [point for point in self.points if point is not None]
        if known:
            return known
        ends = {key: domain.extremes() for key, domain in self.sweep.space.items()}
        first = {key: values[0] for key, values in ends.items()}
        return [{**first, key: value} for key, values in ends.items() for value in values]

    def resolve(self, settings: Settings) -> Experiment:
        """The experiment at a point.

        Raises:
            ConfigError: with the place in the sweep's file.
        """
        text = to_text(settings)
        if text not in self._resolved:
            document = copy.deepcopy(self.document)
            apply(document, settings, self.sweep.place)
            if self._allow:
                self._allow(document.values)
            self._resolved[text] = config.validate(document, plugins=self.plugins)
        return self._resolved[text]

    def _metric(self, experiments: Sequence[Experiment]) -> Metric:
        """What trials are ranked by, see `ranking_metric`.

        Raises:
            ConfigError: no such metric, or none that is comparable.
        """
        place = self.sweep.document.place(("metric",))
        wanted = self.sweep.metric.removeprefix("validation_")
        if wanted.startswith("test"):
            raise ConfigError(f"{place}: metric: the test split may not choose anything")
        try:
            return ranking_metric(experiments, wanted)
        except UserError as error:
            raise ConfigError(f"{place}: metric: {error}") from error

    @property
    def score_key(self) -> str:
        """The name in the log and `summary.json` of the score that ranks trials."""
        return f"validation_{self.metric.name}"

    @property
    def higher_is_better(self) -> bool:
        return bool(self.metric.higher_is_better)

    @cached_property
    def seeds(self) -> list[int]:
        seeds = self.sweep.seeds
        if isinstance(seeds, list):
            return list(dict.fromkeys(seeds))
        return [self.experiment.seed + i for i in range(seeds)]

    @property
    def base_file(self) -> Path:
        """The copy of the base, with `set`, that all trials start from."""
        return self.sweep.folder / "base.yaml"

    @property
    def runs(self) -> Path:
        return self.sweep.folder / "runs"

    def base_text(self) -> str:
        return dump(self.document.values)

    def sweep_text(self) -> str:
        """The sweep over that copy, without where it is stored."""
        values = {**self.sweep.document.values, "base": "base.yaml"}
        values["output"] = self.sweep.output
        return dump({k: v for k, v in values.items() if k not in ("set", "storage", "workers")})

    def identity(self) -> str:
        """Identifies the settings that make trials comparable.

        For changes of code and data, see `generations`.
        """
        return self._hash(identity.identity(self.document.values))

    def identity_before(self) -> str:
        """The same as older versions had it: with every key of the base."""
        kept = {k: v for k, v in self.document.values.items() if k not in ("output", "device")}
        return self._hash(kept)

    def _hash(self, base: dict[str, Any]) -> str:
        values = self.sweep.model_dump(exclude={"base", "set", "name", "output", "storage"})
        del values["workers"], values["seeds_in_parallel"]
        # Its former name: with another, no earlier sweep would be recognized.
        values["measure"] = values.pop("metric")
        for search in ("random", "optuna"):
            if values[search]:
                del values[search]["trials"]
        text = json.dumps([base, values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def jobs(self, trial: int, settings: Settings) -> list[Job]:
        """A run for each seed.

        Raises:
            ConfigError: these settings don't fit together.
        """
        experiment = self.resolve(settings)
        values = experiment.to_dict()
        group = key_of({**values, "seed": None}) if self.sweep.seeds_in_parallel else ""
        return [
            Job(
                config=self.base_file,
                changes=tuple(changes(settings)),
                output=self.runs,
                key=key_of({**values, "seed": seed}),
                trial=trial,
                seed=seed,
                plugins=self.plugins,
                group=group,
                experiment=experiment,
            )
            for seed in self.seeds
        ]

    def repeat_command(self, settings: Settings) -> str:
        """The command that trains a point again, with the first seed."""
        arguments = [str(self.base_file), *changes(settings), f"seed={self.seeds[0]}"]
        return shlex.join(["cnnrun", "train", *arguments])
