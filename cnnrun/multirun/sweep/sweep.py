"""A sweep from its YAML file to the table of its trials."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnrun.config.document import parse
from cnnrun.errors import ConfigError, Interrupted, UserError, did_you_mean
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.seeds_together import SeedsTogether, together
from cnnrun.multirun.launcher.workers import Workers, visible_gpus
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.results import Results, read_results
from cnnrun.multirun.sweep.spec import load
from cnnrun.multirun.sweep.storage import Trials, open_storage, require_optuna, shown
from cnnrun.multirun.sweep.trial_queue import TrialQueue
from cnnrun.runtime.files import write_text

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class How:
    """How a sweep is run, which changes nothing of what it finds."""

    workers: int | None = None
    retry_failed: bool = False
    plugins: tuple[str, ...] = ()
    quiet: bool = False


def start(file: Path, overrides: Iterable[str] = (), how: How = How()) -> Results:
    """Run the sweep in `file`, or go on with it; ends when all of its trials have.

    Raises:
        ConfigError: every problem found, before anything runs.
        Interrupted: a signal asked to stop; runs are saved, trials given back.
    """
    require_optuna()
    plan = Plan(load(file, overrides), how.plugins)
    _write_files(plan)
    storage = plan.sweep.storage or _sqlite(plan.sweep.folder)
    again = shlex.join(["cnnrun", "sweep", str(file), *overrides])
    return _take_part(plan, storage, how, wait_for_others=True, again=again)


def join(place: str, name: str | None = None, how: How = How()) -> Results:
    """Take part in the sweep in the folder or storage `place` until no trial is left to claim.

    name: which of several sweeps in a storage.

    Raises:
        UserError: there is no sweep, or several.
        Interrupted: a signal asked to stop; runs are saved, trials given back.
    """
    require_optuna()
    if "://" in place:
        folder, storage = _fetch(place, name), place
    else:
        folder, storage = Path(place), ""
    plan = _plan_of(folder, how.plugins)
    storage = storage or _storage_of(folder)
    return _take_part(plan, storage, how, False, again=f"cnnrun sweep --join {shown(place)}")


@dataclass(frozen=True)
class Standing:
    """A sweep as it is now, and Optuna's study of it."""

    results: Results
    study: optuna.Study


def standing(folder: Path, plugins: Iterable[str] = ()) -> Standing:
    """The sweep in `folder`, to look at: no trial is claimed or changed.

    Raises:
        UserError: there is no sweep, or its storage can't be reached.
    """
    require_optuna()
    plan, storage = _plan_of(folder, tuple(plugins)), _storage_of(folder)
    if storage == _sqlite(folder) and not (folder / "sweep.db").is_file():
        raise UserError(f"{folder}: no trial has begun (no sweep.db in it)")
    import optuna

    if _study_name(plan) not in optuna.get_all_study_names(open_storage(storage)):
        raise UserError(f"{folder}: no trial of this sweep is in {shown(storage)}")
    trials = _trials(plan, storage)
    return Standing(read_results(plan, trials), trials.study)


def _plan_of(folder: Path, plugins: tuple[str, ...]) -> Plan:
    if not (folder / "sweep.yaml").is_file():
        raise UserError(f"{folder}: no sweep (no sweep.yaml in it); begin one: cnnrun sweep FILE")
    where = [f"output={folder.parent}", f"name={folder.name}"]
    return Plan(load(folder / "sweep.yaml", where), plugins)


def _storage_of(folder: Path) -> str:
    known = folder / "storage.txt"
    return known.read_text(encoding="utf-8").strip() if known.is_file() else _sqlite(folder)


def _trials(plan: Plan, storage: str) -> Trials:
    lock = plan.sweep.folder / ".lock"
    return Trials(storage, _study_name(plan), plan.higher_is_better, lock)


def _study_name(plan: Plan) -> str:
    return f"{plan.sweep.name}-{plan.identity()}"


def commands(file: Path, overrides: Iterable[str] = (), how: How = How()) -> list[str]:
    """The lines of shell that make the sweep's runs: one a run, or one a worker for `optuna`.

    Writes the base that they start from. Runs made so are found by `cnnrun sweep FILE`.

    Raises:
        ConfigError: every problem found.
    """
    plan = Plan(load(file, overrides), how.plugins)
    _write_files(plan)
    if plan.sweep.optuna:
        # Its trials follow from one another: what can be said before is who takes part.
        line = shlex.join(["cnnrun", "sweep", str(file), *overrides, "--workers=1"])
        return [line] * _workers(plan, how)
    trials = [plan.jobs(trial, settings or {}) for trial, settings in enumerate(plan.points)]
    if plan.sweep.seeds_in_parallel and len(plan.seeds) > 1:
        return [together(jobs).command() for jobs in trials]
    return [job.command() for jobs in trials for job in jobs]


def _take_part(plan: Plan, storage: str, how: How, wait_for_others: bool, again: str) -> Results:
    folder = plan.sweep.folder
    trials = _trials(plan, storage)
    trials.study.set_user_attr("sweep.yaml", plan.sweep_text())
    trials.study.set_user_attr("base.yaml", plan.base_text())
    trials.fill(plan.points)
    if how.retry_failed:
        trials.retry_failed()

    def tell(text: str) -> None:
        if not how.quiet:
            print(text, file=sys.stderr, flush=True)

    queue = TrialQueue(plan, trials, tell, wait_for_others)
    gpus = visible_gpus() if plan.uses_any_gpu else []
    runs = RunsFound(plan.runs, tell)
    workers = Workers(_workers(plan, how), runs, folder / "logs", gpus)
    seeds = SeedsTogether(queue, runs, tell)
    try:
        code = workers.work(seeds)
    finally:
        seeds.give_back()
        queue.leave()
    results = read_results(plan, trials)
    if code:
        done = results.count("finished", "pruned", "failed")
        raise Interrupted(
            f"stopped; {done} of {len(results.trials)} trials are done, the runs under way are "
            f"saved; go on: {again}",
            code,
        )
    return results


def _workers(plan: Plan, how: How) -> int:
    gpus = len(visible_gpus()) if plan.uses_any_gpu else 0
    return how.workers or plan.sweep.workers or max(1, gpus)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{(folder / 'sweep.db').resolve()}"


def _write_files(plan: Plan) -> None:
    """The sweep and its base, as trials and whoever joins read them."""
    folder = plan.sweep.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: can't write to {folder} ({error.strerror})") from error
    write_text(folder / "base.yaml", plan.base_text())
    write_text(folder / "sweep.yaml", plan.sweep_text())
    if plan.sweep.storage:
        write_text(folder / "storage.txt", plan.sweep.storage + "\n")
        (folder / "storage.txt").chmod(0o600)  # it may hold a password
    else:
        (folder / "storage.txt").unlink(missing_ok=True)


def _fetch(url: str, name: str | None) -> Path:
    """Write the files of the sweep in a storage to a folder here, as its starter has them."""
    import optuna

    storage = open_storage(url)
    studies = {
        summary.study_name: summary.user_attrs
        for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)
        if "sweep.yaml" in summary.user_attrs
    }
    wanted = {n: a for n, a in studies.items() if name in (None, n, n.rpartition("-")[0])}
    if len(wanted) != 1:
        names = ", ".join(studies) or "none"
        hint = did_you_mean(name or "", studies) if not wanted else "; choose with --name"
        raise UserError(f"{shown(url)}: the sweeps there are {names}{hint}")
    attributes = next(iter(wanted.values()))
    values = parse(attributes["sweep.yaml"], url).values
    folder = Path(str(values["output"])) / str(values["name"])
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("base.yaml", "sweep.yaml"):
        write_text(folder / file, attributes[file])
    return folder
