"""A sweep from its YAML file to the table of its trials."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnrun.config.document import parse
from cnnrun.config.trust import refuse, require_consent, trusted
from cnnrun.errors import ConfigError, Interrupted, UserError, did_you_mean
from cnnrun.multirun.launcher.engine import HERE, Place
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.seeds_together import SeedsTogether, together
from cnnrun.multirun.launcher.workers import takes_any_gpu, visible_gpus, workers_of
from cnnrun.multirun.sweep import generations
from cnnrun.multirun.sweep.database import open_storage, read_only, require_optuna
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.results import Results, read_results
from cnnrun.multirun.sweep.spec import NAME, load
from cnnrun.multirun.sweep.storage import Recorded, Trials
from cnnrun.multirun.sweep.stored import explain_damage, explain_optuna_errors, shown
from cnnrun.multirun.sweep.trial_queue import TrialQueue
from cnnrun.runtime import console
from cnnrun.runtime.files import write_text
from cnnrun.runtime.paths import expanded
from cnnrun.runtime.reading import read_text

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class LaunchOptions:
    """How a sweep is run; does not affect its results."""

    workers: int | None = None
    retry_failed: bool = False
    plugins: tuple[str, ...] = ()
    quiet: bool = False
    # What the command line allows of another user's sweep; see `config.trust`.
    storage: str | None = None
    named: tuple[str, ...] = ()
    output: Path = Path("sweeps")
    place: Place = HERE


def start(
    file: Path, overrides: Iterable[str] = (), options: LaunchOptions = LaunchOptions()
) -> Results:
    """Run or resume the sweep in `file`, until all of its trials have ended.

    Raises:
        ConfigError: all problems found, before anything runs.
        Interrupted: a signal asked to stop; runs are saved, trials released.
    """
    require_optuna()
    plan = Plan(load(file, overrides), options.plugins)
    _write_files(plan)
    storage = plan.sweep.storage or _sqlite(plan.sweep.folder)
    again = shlex.join(["cnnrun", "sweep", str(file), *overrides])
    return _take_part(plan, storage, options, wait_for_others=True, again=again)


def join(place: str, name: str | None = None, options: LaunchOptions = LaunchOptions()) -> Results:
    """Take part in the sweep in the folder or storage `place` until no trial is left to claim.

    name: which of several sweeps in a storage.

    Raises:
        UserError: there is no sweep, or several.
        Interrupted: a signal asked to stop; runs are saved, trials released.
    """
    require_optuna()
    if "://" in place:
        folder, storage = _fetch(place, name, options), place
    else:
        folder = expanded(place)
        storage = _storage_of(folder, options.storage)

    def allow(values: dict[str, Any]) -> None:
        require_consent(values, folder / "base.yaml", options.plugins, options.named)

    plan = _plan_of(folder, options.plugins, allow)
    again = ["cnnrun", "sweep", "--join", shown(place), *options.named]
    again += [f"--plugin={file}" for file in options.plugins]
    return _take_part(plan, storage, options, False, again=shlex.join(again))


@dataclass(frozen=True)
class SweepStatus:
    """A sweep's current state, and its Optuna study."""

    results: Results
    study: optuna.Study


def status(folder: Path, plugins: Sequence[str] = (), storage: str | None = None) -> SweepStatus:
    """The sweep in `folder`, read-only: runs and writes nothing, contacts only what is named.

    storage: where its trials are, if not in the folder.

    Raises:
        UserError: there is no sweep, or its storage can't be reached.
    """
    require_optuna()
    base = folder / "base.yaml"
    plan = _plan_of(folder, plugins, lambda values: _only_looked_at(values, base, plugins))
    url = _storage_of(folder, storage)
    if url == _sqlite(folder):
        if not (folder / "sweep.db").is_file():
            raise UserError(f"{folder}: no trial has started (no sweep.db in it)")
        url = read_only(folder / "sweep.db")
    trials = Recorded(url, generations.newest(url, plan))
    return SweepStatus(read_results(plan, trials), trials.study)


def _only_looked_at(values: dict[str, Any], base: Path, plugins: Sequence[str]) -> None:
    trusted(values, base, plugins, opens_data=False)


def _plan_of(
    folder: Path,
    plugins: Sequence[str],
    allow: Callable[[dict[str, Any]], None] | None = None,
) -> Plan:
    if not (folder / "sweep.yaml").is_file():
        raise UserError(f"{folder}: no sweep (no sweep.yaml in it); start one: cnnrun sweep FILE")
    where = [f"output={folder.parent}", f"name={folder.name}", "base=base.yaml"]
    return Plan(load(folder / "sweep.yaml", where), plugins, allow)


def _storage_of(folder: Path, named: str | None) -> str:
    """Where the trials of the sweep in `folder` are: in it, or where the command line says.

    Raises:
        UserError: elsewhere, and only the folder says so.
    """
    known = folder / "storage.txt"
    if named is None and known.is_file():
        url = read_text(known).strip()
        refuse(known, f"names the storage {shown(url)}", f"--storage {shlex.quote(shown(url))}")
    return named or _sqlite(folder)


def _trials(plan: Plan, storage: str, study: str) -> Trials:
    folder = plan.sweep.folder
    # An existing database was made by a sweep, or must not be changed.
    new = storage != _sqlite(folder) or not (folder / "sweep.db").exists()
    return Trials(storage, study, plan.higher_is_better, folder / ".lock", create=new)


def commands(
    file: Path, overrides: Iterable[str] = (), options: LaunchOptions = LaunchOptions()
) -> list[str]:
    """Shell commands that make the sweep's runs: one per run, or one per worker for `optuna`.

    Writes the base that they start from. `cnnrun sweep FILE` then finds the runs.

    Raises:
        ConfigError: all problems found.
    """
    plan = Plan(load(file, overrides), options.plugins)
    _write_files(plan)
    if plan.sweep.optuna:
        # Its trials depend on earlier ones: only the workers can be listed beforehand.
        line = shlex.join(["cnnrun", "sweep", str(file), *overrides, "--workers=1"])
        return [line] * _workers(plan, options)
    trials = [plan.jobs(trial, settings or {}) for trial, settings in enumerate(plan.points)]
    if plan.sweep.seeds_in_parallel and len(plan.seeds) > 1:
        return [together(jobs).command() for jobs in trials]
    return [job.command() for jobs in trials for job in jobs]


def _take_part(
    plan: Plan, storage: str, options: LaunchOptions, wait_for_others: bool, again: str
) -> Results:
    with explain_optuna_errors(storage):
        return _work(plan, storage, options, wait_for_others, again)


def _work(
    plan: Plan, storage: str, options: LaunchOptions, wait_for_others: bool, again: str
) -> Results:
    folder = plan.sweep.folder

    def notify(text: str) -> None:
        if not options.quiet:
            console.warn(text)

    runs = RunsFound(plan.runs, notify)
    study = generations.newest(storage, plan)
    trials = _trials(plan, storage, study)
    if why := generations.void(trials, plan, runs):
        if not wait_for_others:
            raise UserError(
                f"{folder}: its trials were trained from other code or data than here ({why}); "
                "join with the same code and data, or start a new sweep: cnnrun sweep FILE"
            )
        runs.notify_once(why, folder)
        trials = _trials(plan, storage, generations.after(study, plan))
    trials.study.set_user_attr("sweep.yaml", plan.sweep_text())
    trials.study.set_user_attr("base.yaml", plan.base_text())
    trials.fill(plan.points)
    if options.retry_failed:
        trials.retry_failed()
    queue = TrialQueue(plan, trials, notify, wait_for_others)
    count = options.workers or plan.sweep.workers
    workers = workers_of(options.place, runs, folder, count, [plan.experiment.device])
    seeds = SeedsTogether(queue, runs, notify)
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
            f"saved; continue: {again}",
            code,
        )
    return results


def _workers(plan: Plan, options: LaunchOptions) -> int:
    gpus = len(visible_gpus()) if takes_any_gpu(plan.experiment.device) else 0
    return options.workers or plan.sweep.workers or max(1, gpus)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{(folder / 'sweep.db').resolve()}"


def _write_files(plan: Plan) -> None:
    """The sweep and its base, as trials and joining processes read them."""
    folder = plan.sweep.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: can't write to {folder} ({error.strerror})") from error
    write_text(folder / "base.yaml", plan.base_text())
    write_text(folder / "sweep.yaml", plan.sweep_text())
    if plan.sweep.storage:
        write_text(folder / "storage.txt", plan.sweep.storage + "\n", private=True)  # a password
    else:
        (folder / "storage.txt").unlink(missing_ok=True)


def _fetch(url: str, name: str | None, options: LaunchOptions) -> Path:
    """Write the files of the sweep in a storage to a folder here, as its starter has them.

    The folder is the command line's choice, and holds no other sweep.
    """
    import optuna

    storage = open_storage(url, create=False)
    with explain_damage(url):
        studies = {
            str(summary.study_name): summary.user_attrs
            for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)
            if summary.user_attrs.keys() >= {"sweep.yaml", "base.yaml"}
        }
    studies = {study: studies[study] for study in generations.latest(studies)}
    wanted = {n: a for n, a in studies.items() if name in (None, n, n.rpartition("-")[0])}
    if len(wanted) != 1:
        names = f"the sweeps {', '.join(studies)}" if studies else "no sweeps"
        hint = did_you_mean(name or "", studies) if not wanted else "; choose with --name"
        raise UserError(f"{shown(url)}: it holds {names}{hint}")
    study, attributes = next(iter(wanted.items()))
    found = str(parse(str(attributes["sweep.yaml"]), shown(url)).values.get("name"))
    if not re.fullmatch(NAME, found):
        raise UserError(f"{shown(url)}: {found!r} is not the name of a sweep")
    folder = options.output / found
    if (folder / "sweep.yaml").exists() and not _is_sweep(folder, study, options.plugins):
        raise UserError(f"{folder} holds another sweep; choose another folder: --output DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("base.yaml", "sweep.yaml"):
        write_text(folder / file, str(attributes[file]))
    return folder


def _is_sweep(folder: Path, study: str, plugins: Sequence[str]) -> bool:
    """Whether `folder` holds the sweep whose trials are those of `study`."""
    base = folder / "base.yaml"
    try:
        plan = _plan_of(folder, plugins, lambda values: _only_looked_at(values, base, plugins))
    except UserError:
        return False
    return generations.newest_of([study], plan) == study
