"""A study from its YAML file to its findings: train what is missing, then compare and draw."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cnnrun.comparison import Group, compare, group_runs, read_run
from cnnrun.config import experiment as config
from cnnrun.config.document import read
from cnnrun.config.experiment import Experiment
from cnnrun.config.identity import key_of
from cnnrun.errors import ConfigError, UserError
from cnnrun.multirun.comparable import check_metric
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import Outcome
from cnnrun.multirun.launcher.train_jobs import AS_USUAL, LaunchOptions, train_jobs
from cnnrun.multirun.settings import Settings, apply, changes
from cnnrun.multirun.study.findings import Findings
from cnnrun.multirun.study.spec import Study, load, run_named
from cnnrun.runtime.files import write_json, write_text
from cnnrun.runtime.text_table import within


def run(file: Path, overrides: Iterable[str] = (), options: LaunchOptions = AS_USUAL) -> Findings:
    """Train the missing runs of the study in `file`, and report the findings.

    Leaves in `<output>/<name>/`: `configs/` with an experiment per variant, `runs/`, `study.json`,
    `findings.txt` and the plots.

    Raises:
        ConfigError: all problems found, before anything runs.
        Interrupted: a signal asked to stop; the current runs are saved.
        UserError: a run that the others build on failed, or none finished.
    """
    overrides = list(overrides)
    plan = _Plan(load(file, overrides), options)
    again = shlex.join(["cnnrun", "study", str(file), *overrides])
    firsts = plan.train_first(again)
    runs = plan.train_variants(firsts, again)
    groups = [_group(name, outcomes) for name, outcomes in runs.items()]
    failures = [outcome for outcomes in runs.values() for outcome in outcomes if not outcome.run]
    contrasts = [(first, second) for first, second in plan.study.contrasts]
    finished = [group for group in groups if group]
    if not finished:
        raise UserError(f"no run of this study finished; the first: {failures[0].message}")
    comparison = compare(finished, plan.study.metric, contrasts=contrasts)
    failed = [f"{_variant_of(o)}, seed {o.job.seed}, failed: {o.message}" for o in failures]
    findings = Findings(plan.study, comparison, failed, plan.variants)
    findings.draw()
    write_json(plan.study.folder / "study.json", findings.to_dict())
    with within(None):
        write_text(plan.study.folder / "findings.txt", findings.to_text() + "\n")
    return findings


def commands(
    file: Path, overrides: Iterable[str] = (), options: LaunchOptions = AS_USUAL
) -> list[str]:
    """Shell commands that make the study's runs; `run` then finds them.

    Raises:
        ConfigError: all problems found; or the variants need runs that don't exist yet.
    """
    plan = _Plan(load(file, overrides), options)
    if plan.firsts:
        names = ", ".join(plan.firsts)
        raise ConfigError(f"--dry-run: the variants need the folders of the runs first: {names}")
    return [job.command() for job in plan.jobs({})]


class _Plan:
    """The plan of a study, with every variant resolved and valid."""

    def __init__(self, study: Study, options: LaunchOptions) -> None:
        self.study, self.options = study, options
        self.variants = self._resolve("variants", study.variants)
        self.firsts = self._resolve("first", study.first)
        if study.metric is not None:
            try:
                check_metric(list(self.variants.values()), study.metric)
            except UserError as error:
                place = study.document.place(("metric",))
                raise ConfigError(f"{place}: metric: {error}") from error

    def _resolve(self, section: str, variants: dict[str, Settings]) -> dict[str, Experiment]:
        found: dict[str, Experiment] = {}
        problems: dict[str, None] = {}
        for name, settings in variants.items():
            try:
                found[name] = self._experiment(section, name, settings)
            except ConfigError as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise ConfigError(problems)
        return found

    def _experiment(self, section: str, name: str, settings: Settings) -> Experiment:
        study = self.study
        document = copy.deepcopy(read(study.base_file(settings)))
        document.values["name"] = name

        def place(key: str, _value: object) -> tuple[str, str]:
            return study.place(section, name, key)

        apply(document, study.set, place)
        apply(document, {key: v for key, v in settings.items() if key != "base"}, place)
        return config.validate(document, plugins=self.options.plugins)

    def train_first(self, again: str) -> dict[str, str]:
        """The directories of the runs under `first`, by name."""
        folder = self.study.folder / "first"
        jobs = [
            self._job(experiment, name, number, experiment.seed, folder)
            for number, (name, experiment) in enumerate(self.firsts.items())
        ]
        found = {}
        for outcome in self._train(jobs, folder, again):
            if not outcome.run:
                raise UserError(f"{_variant_of(outcome)}, trained first, failed: {outcome.message}")
            found[_variant_of(outcome)] = str(outcome.run.path)
        return found

    def train_variants(self, firsts: dict[str, str], again: str) -> dict[str, list[Outcome]]:
        """How the runs of each variant ended."""
        runs: dict[str, list[Outcome]] = {name: [] for name in self.variants}
        for outcome in self._train(self.jobs(firsts), self.study.folder / "runs", again):
            runs[_variant_of(outcome)].append(outcome)
        return runs

    def jobs(self, firsts: dict[str, str]) -> list[Job]:
        """A run for each variant and seed."""
        folder = self.study.folder / "runs"
        jobs = []
        for number, (name, experiment) in enumerate(self.variants.items()):
            whole = self._with_runs(experiment, self.study.variants[name], firsts)
            jobs += [self._job(whole, name, number, seed, folder) for seed in self._seeds(whole)]
        return jobs

    def _with_runs(
        self, experiment: Experiment, settings: Settings, firsts: dict[str, str]
    ) -> Experiment:
        """With the directories of the runs that `settings` name."""
        named = {key: firsts[name] for key, v in settings.items() if (name := run_named(v))}
        values = experiment.to_dict()
        origin = self.study.folder / "configs" / f"{experiment.name}.yaml"
        return config.from_dict(values, str(origin), changes(named), self.options.plugins)

    def _seeds(self, experiment: Experiment) -> list[int]:
        seeds = self.study.seeds
        if isinstance(seeds, list):
            return list(dict.fromkeys(seeds))
        return [experiment.seed + i for i in range(seeds)]

    def _job(self, experiment: Experiment, name: str, number: int, seed: int, output: Path) -> Job:
        """A run of a variant; its complete config is written, so that it can be run alone."""
        file = self.study.folder / "configs" / f"{name}.yaml"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"output: can't write to {file.parent} ({error.strerror})") from error
        write_text(file, experiment.to_yaml())
        key = key_of({**experiment.to_dict(), "seed": seed})
        group = name if self.study.seeds_in_parallel else ""
        return Job(
            file, (), output, key, number, seed, self.options.plugins, group, experiment=experiment
        )

    def _train(self, jobs: Sequence[Job], folder: Path, again: str) -> list[Outcome]:
        workers = self.options.workers or self.study.workers
        options = replace(self.options, workers=workers)
        return train_jobs(
            jobs, folder, options, lambda job: f"{job.config.stem} seed {job.seed}", again
        )


def _variant_of(outcome: Outcome) -> str:
    return outcome.job.config.stem


def _group(name: str, outcomes: Sequence[Outcome]) -> Group | None:
    """The finished runs of a variant under its name; None if there are none."""
    runs = [read_run(outcome.run.path) for outcome in outcomes if outcome.run]
    return replace(group_runs(runs)[0], name=name) if runs else None
