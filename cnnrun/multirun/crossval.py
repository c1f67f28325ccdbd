"""Cross-validation in one go: a plain run per fold, and their predictions for held-out images.

Leaves in `<output>/<name>/`: `experiment.yaml`, `runs/`, `predictions.csv`, `crossval.json`, and of
further seeds `seed1-predictions.csv`.
"""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnrun.comparison.statistics import Interval, cross_validated_interval, standard_deviation
from cnnrun.components.tasks.task import Task
from cnnrun.config.document import flattened
from cnnrun.config.experiment import Experiment, load
from cnnrun.config.identity import key_of
from cnnrun.errors import ConfigError, UserError
from cnnrun.evaluation import out_of_fold
from cnnrun.evaluation import scoring as evaluation
from cnnrun.evaluation.loading import open_run_of
from cnnrun.evaluation.out_of_fold import RESULT, Fold
from cnnrun.multirun.comparable import task_of
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import Outcome
from cnnrun.multirun.launcher.train_jobs import AS_USUAL, LaunchOptions, train_jobs
from cnnrun.runs.directory import RunDirectory
from cnnrun.runtime import console
from cnnrun.runtime.files import write_json, write_text
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.text_table import columns

# All folds but one train; with two folds each class must be in both.
FEWEST = 2


@dataclass(frozen=True)
class Scored:
    """The results of cross-validation.

    folds: by metric, the score of each fold, of the first seed, then of the next; None where it is
    undefined. all_images: by metric, for all held-out images as one split, the mean over the seeds.
    runs: their directories, in the same order. predictions: a file of them for each seed.
    """

    name: str
    task: type[Task]
    folds: dict[str, list[float | None]]
    all_images: dict[str, float]
    runs: list[Path]
    predictions: list[Path]
    images: int
    seeds: list[int]

    def interval(self, metric: str) -> Interval:
        known = self.known(metric)
        return cross_validated_interval(known, len(self.runs) // len(self.seeds))

    def known(self, metric: str) -> list[float]:
        """The scores that are defined."""
        return [value for value in self.folds[metric] if value is not None]

    def to_dict(self) -> dict[str, Any]:
        scores = {}
        for metric, values in self.folds.items():
            mean, low, high = self.interval(metric)
            scores[metric] = {
                "mean": mean,
                "low": low,
                "high": high,
                "std": standard_deviation(self.known(metric)),
                "folds": values,
                "all_images": self.all_images.get(metric),
            }
        return {
            "name": self.name,
            "folds": len(self.runs) // len(self.seeds),
            "seeds": self.seeds,
            "images": self.images,
            "scores": scores,
            "runs": [str(run) for run in self.runs],
            "predictions": [str(file) for file in self.predictions],
        }

    def to_text(self) -> str:
        rows, partly = [], []
        for name, values in self.folds.items():
            metric, found, known = self.task.metric(name), self.interval(name), self.known(name)
            if len(known) < len(values):
                partly.append(f"{metric.display_name}: defined in {len(known)} of {len(values)}")
            between = "-"
            if found.low is not None and found.high is not None:
                ends = (metric.possible(found.low), metric.possible(found.high))
                between = " to ".join(map(metric.text, ends))
            spread = " to ".join(metric.text(end(known)) for end in (min, max))
            rows.append([metric.display_name, metric.text(found.mean), between, spread])
        head = ["", "mean", "95 % interval", "lowest to highest fold"]
        folds, seeds = len(self.runs) // len(self.seeds), len(self.seeds)
        once = "once" if seeds == 1 else f"once with each of {seeds} seeds"
        return "\n".join(
            [
                f"{self.name}: {folds} folds, {self.images:,} images, each held out {once}",
                *columns([head, *rows], right=(1,), names=(0,)),
                *partly,
                "intervals are corrected for folds that share images (Nadeau & Bengio 2003)",
                *(f"predictions  {file}" for file in self.predictions),
            ]
        )


def run(
    file: Path,
    folds: int,
    overrides: Iterable[str] = (),
    output: str = "crossval",
    options: LaunchOptions = AS_USUAL,
    seeds: Sequence[int] = (),
) -> Scored:
    """Train the missing folds of the experiment in `file`, and score all.

    seeds: by default the experiment's own; each deals the folds again.

    Each is scored with the weights of its last epoch: the best epoch would be chosen by the images
    that are scored.

    Raises:
        ConfigError: all problems of the experiment.
        Interrupted: a signal asked to stop; the current runs are saved.
        UserError: a fold failed.
    """
    overrides = list(overrides)
    experiment, folder = _planned(file, folds, overrides, output, options)
    numbers = list(seeds) or [experiment.seed]
    jobs = _jobs(experiment, folder, folds, numbers, options)
    write_text(jobs[0].config, experiment.to_yaml())
    words = ["cnnrun", "crossval", str(file), *overrides, "--folds", str(folds)]
    if len(numbers) > 1:
        words += ["--seeds", ",".join(map(str, numbers))]
    again = shlex.join(words)
    outcomes = train_jobs(jobs, folder / "runs", options, _called, again, all_needed=True)
    runs = [_finished(outcome) for outcome in outcomes]
    found = _scored(experiment, folder, runs, numbers)
    write_json(folder / RESULT, found.to_dict())
    return found


def commands(
    file: Path,
    folds: int,
    overrides: Iterable[str] = (),
    output: str = "crossval",
    options: LaunchOptions = AS_USUAL,
    seeds: Sequence[int] = (),
) -> list[str]:
    """Shell commands that train the folds; `run` then finds their runs."""
    experiment, folder = _planned(file, folds, overrides, output, options)
    jobs = _jobs(experiment, folder, folds, list(seeds) or [experiment.seed], options)
    write_text(jobs[0].config, experiment.to_yaml())
    return [job.command() for job in jobs]


def _planned(
    file: Path, folds: int, overrides: Iterable[str], output: str, options: LaunchOptions
) -> tuple[Experiment, Path]:
    experiment = load(file, overrides, options.plugins)
    if folds < FEWEST:
        raise ConfigError(f"--folds: at least {FEWEST}, got {folds}")
    if experiment.dataset.fold is not None:
        raise experiment.error(["dataset", "fold"], "crossval trains every fold; leave it out")
    if experiment.task.name == "stylize":
        raise experiment.error(["task"], "style transfer has one image; there is nothing to divide")
    if experiment.training.patience is not None:
        console.warn(
            "training.patience ends a run by the very images that are scored: the scores are "
            "slightly optimistic; a fixed number of epochs has no such effect"
        )
    return experiment, expanded(output) / experiment.name


def _jobs(
    experiment: Experiment, folder: Path, folds: int, seeds: Sequence[int], options: LaunchOptions
) -> list[Job]:
    """One run per seed and fold."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for seed, number in itertools.product(seeds, range(1, folds + 1)):
        changed = {"dataset.fold": f"{number}/{folds}", "dataset.stratify": True}
        dataset = experiment.dataset.model_copy(
            update={key.partition(".")[2]: value for key, value in changed.items()}
        )
        own = experiment.model_copy(update={"dataset": dataset, "seed": seed})
        key = key_of(flattened(own.to_dict()))
        settings = (f"dataset.fold={number}/{folds}", "dataset.stratify=true")
        jobs.append(
            Job(
                folder / "experiment.yaml",
                settings,
                folder / "runs",
                key,
                number,
                seed,
                options.plugins,
                experiment=own,
            )
        )
    return jobs


def _called(job: Job) -> str:
    return f"fold {job.trial}, seed {job.seed}"


def _finished(outcome: Outcome) -> RunDirectory:
    if outcome.run is None:
        raise UserError(f"{_called(outcome.job)} failed: {outcome.message}")
    return outcome.run


def _scored(
    experiment: Experiment,
    folder: Path,
    runs: Sequence[RunDirectory],
    seeds: Sequence[int],
) -> Scored:
    """The scores of `runs`: the folds of the first seed, then those of the next."""
    scores, wholes, files, images = [], [], [], 0
    task: Task | None = None
    count = len(runs) // len(seeds)
    for place, seed in enumerate(seeds):
        folds = []
        for number, done in enumerate(runs[place * count : (place + 1) * count], start=1):
            _, parts, _ = open_run_of(experiment, done.checkpoint("last"))
            predictions, found = evaluation.evaluate(parts, "validation")
            folds.append(Fold(number, parts.dataset.split("validation"), predictions))
            scores.append(found)
            task, classes = parts.task, parts.dataset.classes
        assert task
        files.append(folder / (f"seed{seed}-{out_of_fold.NAME}" if place else out_of_fold.NAME))
        out_of_fold.write(files[-1], folds, task, classes)
        wholes.append(task.scores(out_of_fold.pooled(folds), classes))
        images = sum(len(fold.split) for fold in folds)
    assert task
    kept = [
        name
        for name in dict.fromkeys((*task.headline, *task.epoch_metrics))
        if any(isinstance(found.get(name), float) for found in scores)
    ]
    return Scored(
        experiment.name,
        task_of(experiment),
        {name: [found[name] for found in scores] for name in kept},
        {
            name: math.fsum(whole[name] for whole in wholes) / len(wholes)
            for name in kept
            if all(isinstance(whole.get(name), float) for whole in wholes)
        },
        [done.path for done in runs],
        files,
        images,
        list(seeds),
    )
