"""Resuming a run, perhaps with changed settings.

First the run is locked, then everything is read, built and restored, and only a trainer that is
about to take a step changes the run's files: what is refused or fails leaves them as they were.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from cnnrun.config.experiment import Experiment, changed_copy, load
from cnnrun.config.own_code import code_of
from cnnrun.engine.build import build
from cnnrun.engine.build_data import build_dataset
from cnnrun.engine.restoring import (
    best_of_course,
    learning_rate_note,
    restore,
    settle_best,
)
from cnnrun.engine.trainer import Trainer
from cnnrun.errors import Interrupted
from cnnrun.runner.finishing import leaving_at_once, train_to_end
from cnnrun.runner.starting import create, note_environment, start
from cnnrun.runs import resuming
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.identity import recorded, runs_with_settings_of, unlike
from cnnrun.runs.lock import alone_in, one_at_a_time
from cnnrun.runs.loggers.forwarding import build_loggers
from cnnrun.runs.record import Record
from cnnrun.runs.resuming import Changes, Saved
from cnnrun.runtime import console
from cnnrun.runtime.device import select_device
from cnnrun.runtime.distributed import any_process, broadcast_from_main, process_group, world
from cnnrun.runtime.files import write_text
from cnnrun.runtime.interrupt import stop_on_signals
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.weights import load_weights, some


def resume(
    path: Path, overrides: Iterable[str] = (), plugins: Iterable[str] = (), quiet: bool = False
) -> RunDirectory:
    """Resume the run at `path` from its newest checkpoint; a finished run is left alone.

    overrides: changes to its experiment, e.g. more `training.epochs`; see `config.identity`.

    Raises:
        ConfigError: a change that a run can't be resumed with.
        UserError: there is no such run, another process trains it, its data have changed, or the
            changes leave no epoch to train.
    """
    run = RunDirectory.find(path)
    with alone_in(run) if world().is_main else nullcontext():
        return _resume(run, load(run.config, overrides, plugins), quiet)


def resume_or_start(experiment: Experiment, quiet: bool) -> RunDirectory:
    """Resume the newest run of exactly this experiment, or start one: for jobs that are restarted.

    Raises:
        UserError: as `resume` and `train`.
    """
    device = select_device(experiment.device)
    with console.quiet_if(quiet), process_group(device), ExitStack() as held:
        started, path = "", ""
        if world().is_main:
            run, is_new = _claim(experiment, held)
            started, path = "" if is_new else "started", str(run.path)
        started, _, path = broadcast_from_main(f"{started}:{path}").partition(":")
        run = RunDirectory(Path(path))
        if not started:
            return _start_in(run, experiment, quiet)
        if run.read_summary():
            return run
        return _resume(run, _with_levers_of(run, experiment), quiet)


def _claim(experiment: Experiment, held: ExitStack) -> tuple[RunDirectory, bool]:
    """The run to train, locked until `held` ends, and whether it is a new one."""
    folder = expanded(experiment.output) / experiment.name
    with suppress(OSError):  # reported where the run's own directory is created
        folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder):
        same = runs_with_settings_of(experiment)
        if any(recorded(run).get("data") for run in same):
            fingerprint = build_dataset(experiment).fingerprint
        else:
            fingerprint = ""
        code, others = code_of(experiment.to_dict()), []
        for run in same:
            why = unlike(run, code, fingerprint)
            if not why:
                held.enter_context(alone_in(run))
                return run, False
            others.append(f"{run.path} has the same settings, but {why}: a new run starts")
        resuming.notify(others)  # only now: an older run might have matched
        return create(experiment, held), True


def _start_in(run: RunDirectory, experiment: Experiment, quiet: bool) -> RunDirectory:
    """Train in a directory made for the run; it is removed if the run can't be trained."""
    given = []

    def directory(chosen: Experiment) -> RunDirectory:
        given.append(run)
        if world().is_main and chosen is not experiment:
            write_text(run.config, chosen.to_yaml())
        return run

    try:
        return start(experiment, quiet, directory)
    except BaseException:
        if world().is_main and not given:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _with_levers_of(run: RunDirectory, experiment: Experiment) -> Experiment:
    """`experiment` with what `training.auto_speed` chose when `run` was started."""
    if not experiment.training.auto_speed:
        return experiment
    held = load(run.config, plugins=experiment.plugins).training
    chosen = {key: getattr(held, key) for key in ("channels_last", "compile", "auto_speed")}
    return changed_copy(experiment, {"training": chosen})


def _resume(run: RunDirectory, experiment: Experiment, quiet: bool) -> RunDirectory:
    """Resume `run`, which this process has locked, with the settings of `experiment`."""
    started = time.perf_counter()
    with console.quiet_if(quiet), process_group(select_device(experiment.device)):
        console.stage("loading data and model")
        saved = resuming.read_saved(run)
        changes = resuming.changes_of(run, experiment, saved.newest)
        changes, without = resuming.split_changes(changes, experiment)
        resuming.notify([f"no effect on a run that is resumed: {key}" for key in without])
        if run.read_summary() and not changes:
            return run
        resuming.refuse_fixed(changes, run, experiment)
        if saved.newest is None:
            resuming.notify(saved.notes)
            resuming.refuse_lost_checkpoints(run)
        experiment = resuming.as_started(experiment, without)
        build_loggers(experiment)  # report missing packages before anything slow
        parts = build(experiment, saved.newest)
        if saved.newest:
            resuming.check_data(parts.dataset, saved.newest)
            # Now, as the trainer may compute frozen features once and for all.
            load_weights(parts.model, saved.newest.raw or saved.newest.model)
            parts.trainable.look_again()  # the loaded image decides which size is trained
        with stop_on_signals() as stop:
            with leaving_at_once(run):
                trainer = Trainer(parts, run, stop)
                notes, is_best = _restored(trainer, run, saved, changes)
            any_process([False])  # all have read the files by now
            code = resuming.code_changes(run, experiment, saved.newest)
            notes += [f"changed  {resuming.to_text(key, changes)}" for key in changes]
            notes += [f"changed  code: {text}" for text in code]
            with _recorded(trainer, run, changes, code, is_best):
                if world().is_main:
                    resuming.notify([*saved.notes, *notes])
                if is_best:
                    trainer.save("best")
                if saved.newest and not saved.newest_is_last:
                    trainer.save("last")  # the existing one is damaged, missing or older
                train_to_end(trainer, quiet, started)
    return run


def _restored(
    trainer: Trainer, run: RunDirectory, saved: Saved, changes: Changes
) -> tuple[list[str], bool]:
    """Restore a trainer. Returns notes for the user, and whether to save it as the best.

    Raises:
        UserError: `changes` leave nothing to train.
    """
    newest = saved.newest
    if newest is None:
        return [], False
    before = resuming.trained_as(newest, run, trainer.experiment)
    rows = {row["epoch"]: row for row in run.read_metrics()}
    notes = restore(trainer, newest)
    progress, epochs = trainer.progress, trainer.experiment.training.epochs
    best = best_of_course(saved.best, newest, rows, trainer.task)
    is_best = settle_best(trainer, best, before, rows)
    if changes and (progress.epoch >= epochs or progress.stopped_early):
        resuming.refuse_nothing_to_train(run, changes, progress.epoch, epochs)
    if newest.progress["best_epoch"] and best is None:
        notes.append(
            f"{run.checkpoint('best')} is not what this run knows as its best epoch "
            f"({newest.progress['best_epoch']}): the best is chosen again from here on"
        )
    lacking = resuming.lacking_rows(rows, progress.epoch, len(trainer.train_batches))
    if lacking:
        notes.append(f"{run.metrics} lacks epochs of this run: {some(map(str, lacking))}")
    if world().is_main:
        notes += learning_rate_note(trainer, newest, before)
    return notes, is_best


@contextmanager
def _recorded(
    trainer: Trainer, run: RunDirectory, changes: Changes, code: list[str], saves_best: bool
) -> Iterator[None]:
    """Write changed settings into the run's files; restore them if nothing new was saved."""
    if not world().is_main:
        yield
        return
    run.remove_leftovers()
    last = run.checkpoint("last")
    record = Record(run, [run.checkpoint("best")] if saves_best else [])
    state = _state_of(last)
    try:
        record.change(trainer.experiment, changes, code, trainer.progress)
        if not run.environment.is_file():
            note_environment(trainer.full, run)
        yield
    except Interrupted:
        raise
    except Exception:
        if _state_of(last) == state:
            record.put_back()
        raise


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced."""
    if not file.is_file():
        return None
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
