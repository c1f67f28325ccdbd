"""Generations of a sweep: a new Optuna study starts when old trials become invalid.

Trials say nothing about new ones once the user's own code or the data have changed, and no search
may learn from them. They stay in the storage, and the sweep continues in its next generation.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cnnrun.config.identity import code_part, settings_part
from cnnrun.errors import ConfigError
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.sweep.database import study_names
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.storage import Recorded


def newest(url: str, plan: Plan) -> str:
    """The study in the storage at `url` that has the sweep's trials, or will have them.

    Raises:
        UserError: the storage can't be reached.
    """
    return newest_of(study_names(url), plan)


def newest_of(names: Collection[str], plan: Plan) -> str:
    """The sweep's newest generation among the names of a storage's studies."""
    first = _first(plan)
    older = f"{plan.sweep.name}-{plan.identity_before()}"
    ours = [name for name in names if first_of(name) == first]
    if not ours and older in names:
        return older
    return max(ours, key=_generation, default=first)


def first_of(name: str) -> str:
    """The name of the first generation of the sweep whose study is called `name`."""
    sweep, _, rest = name.rpartition("-")
    return f"{sweep}-{rest.partition('.')[0]}"


def after(name: str, plan: Plan) -> str:
    """The name of the generation that follows."""
    return f"{_first(plan)}.{_generation(name) + 1}"


def latest(names: Collection[str]) -> list[str]:
    """Of studies of any sweeps, the newest generation of each."""
    found: dict[str, str] = {}
    for name in sorted(names, key=_generation):
        found[first_of(name)] = name
    return list(found.values())


def _first(plan: Plan) -> str:
    return f"{plan.sweep.name}-{plan.identity()}"


def _generation(name: str) -> int:
    number = name.rpartition("-")[2].partition(".")[2]
    return int(number) if number.isdecimal() else 1


def void(trials: Recorded, plan: Plan, runs: RunsFound) -> str:
    """Why existing trials say nothing about new ones; "" if they do.

    Each run knows from which code and data it was computed.
    """
    seen: set[str] = set()
    for slot, trial in trials.current_trials().items():
        keys, settings = trial.user_attrs.get("keys"), trial.user_attrs.get("settings")
        if not keys or settings is None:
            continue
        try:
            jobs = plan.jobs(slot, settings)
        except ConfigError:
            continue  # such a trial fails again
        for job in jobs:
            record = trial.user_attrs.get(f"seed {job.seed}")
            if record and (held := record.get("from")) and repr(held) not in seen:
                seen.add(repr(held))
                if why := runs.why_unlike(held, job):
                    return why
        if _other_code(keys, [job.key for job in jobs]):
            return "code has changed since"
    return ""


def _other_code(before: Collection[Any], now: Collection[str]) -> bool:
    codes = {settings_part(str(key)): code_part(str(key)) for key in before}
    return any(codes.get(settings_part(key), code_part(key)) != code_part(key) for key in now)
