"""Several seeds of one experiment, trained together, from the config to their run directories."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from cnnrun.config.experiment import Experiment
from cnnrun.engine.build import build
from cnnrun.engine.many_seeds import Seeds, check
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import UserError
from cnnrun.runner.finishing import finish, leaving_at_once
from cnnrun.runner.starting import describe, new_run
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.loggers.forwarding import Reports, build_loggers
from cnnrun.runtime.device import select_device
from cnnrun.runtime.interrupt import stop_on_signals
from cnnrun.runtime.training_display import reporter
from cnnrun.runtime.weights import some


def train_seeds(experiments: Sequence[Experiment], quiet: bool = False) -> list[RunDirectory]:
    """Train `experiments`, which differ only in their seeds, together; each has its run directory.

    Raises:
        ConfigError: the experiment uses something that can't be batched over seeds.
        Interrupted: a signal asked to stop; each run is saved and can be resumed alone.
        UserError: the runs that failed, after the others are finished.
    """
    check(experiments[0])
    started = time.perf_counter()
    device = select_device(experiments[0].device)
    parts = [build(experiment) for experiment in experiments]
    sizes = sorted({len(one.dataset.train) for one in parts})
    if len(sizes) > 1:  # which files are held out depends on their names and the seed
        raise UserError(
            f"seeds: their training splits differ in size ({some(map(str, sizes))} images); "
            "train them one by one"
        )
    with ExitStack() as ends, stop_on_signals() as stop:
        runs = [new_run(experiment, ends) for experiment in experiments]
        for number, (one, run) in enumerate(zip(parts, runs, strict=True)):
            describe(one, run, quiet or number > 0)
            run.keep_metrics(0)
        trainers = [Trainer(one, run, stop) for one, run in zip(parts, runs, strict=True)]
        for trainer, run in zip(trainers, runs, strict=True):
            reports = Reports(build_loggers(trainer.experiment), run)
            reports.start(trainer.experiment)
            trainer.notify = reports.epoch
            ends.callback(_end, reports)
        seeds = Seeds(trainers, stop, device)
        lead = trainers[0]
        epochs = lead.experiment.training.epochs
        with reporter(quiet, lead.total_steps, 0, epochs) as shown:
            seeds.fit(shown)
        with leaving_at_once(*(trainer.run for trainer in seeds.unfailed if trainer.run)):
            for trainer in list(seeds.unfailed):
                seeds.attempt(trainer, lambda trainer: finish(trainer, started))
    if seeds.failed:
        failures = [f"seed {t.experiment.seed}: {error}" for t, error in seeds.failed.items()]
        raise UserError("\n".join(failures))
    return runs


def _end(reports: Reports) -> None:
    reports.end(reports.run.read_summary())
