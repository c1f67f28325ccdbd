"""The sweep's trials in Optuna's storage, which any number of processes share.

Every trial has a `slot`, its number in the sweep, and waits in the storage until a process claims
it. A slot may have several of Optuna's trials: one that was lost with its process or failed is
final there, and a copy replaces it. `current_trial` says which of them counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnrun.errors import UserError
from cnnrun.multirun.settings import Settings
from cnnrun.multirun.sweep.database import GRACE_SECONDS, open_storage, require_optuna
from cnnrun.multirun.sweep.space import parameters
from cnnrun.multirun.sweep.stored import explain_damage, require_whole, shown
from cnnrun.runtime.file_lock import lock

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from cnnrun.multirun.sweep.spec import OptunaSearch


class Recorded:
    """The trials of one sweep as the storage at `url` has them; nothing is written there."""

    def __init__(self, url: str, study_name: str) -> None:
        """Raises `UserError` if the storage can't be reached or has no such sweep."""
        require_optuna()
        import optuna

        storage = open_storage(url, create=False)
        with explain_damage(url):
            if study_name not in optuna.get_all_study_names(storage):
                raise UserError(f"no trial of this sweep is in {shown(url)}")
            self.study: optuna.Study = optuna.load_study(study_name=study_name, storage=storage)
            self._require_whole()

    def _require_whole(self) -> None:
        """Read everything once before anything is done, to find damage early."""
        for trial in self.study.get_trials(deepcopy=False):
            require_whole(trial)

    def by_slot(self) -> dict[int, list[FrozenTrial]]:
        """All of Optuna's trials, by slot, in the order in which they were made."""
        found: dict[int, list[FrozenTrial]] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if "slot" in trial.user_attrs:
                found.setdefault(trial.user_attrs["slot"], []).append(trial)
        return found

    def current_trials(self) -> dict[int, FrozenTrial]:
        """The current trial of every slot that has one."""
        found = {slot: current_trial(trials) for slot, trials in sorted(self.by_slot().items())}
        return {slot: trial for slot, trial in found.items() if trial is not None}


class Trials(Recorded):
    """The trials of one sweep in the storage at `url`, to claim and report."""

    def __init__(
        self,
        url: str,
        study_name: str,
        higher_is_better: bool,
        lock: Path,
        create: bool = True,
    ) -> None:
        """create: as in `open_storage`."""
        import optuna

        self.url = url
        self.lock_file = lock
        with self.locked(), explain_damage(url):
            self.storage = open_storage(url, create)
            self.study: optuna.Study = optuna.create_study(
                study_name=study_name,
                storage=self.storage,
                direction="maximize" if higher_is_better else "minimize",
                # `TrialQueue` chooses another for each trial; this one is never used.
                sampler=optuna.samplers.RandomSampler(),
                load_if_exists=True,
            )
            self._require_whole()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time, if the database doesn't ensure it.

        SQLite has no `SELECT ... FOR UPDATE`, by which Optuna claims a trial; but processes that
        share an SQLite file share its folder as well.
        """
        if not self.url.startswith("sqlite"):
            yield
            return
        with self.lock_file.open("w") as stream:
            # Without locks, Optuna's own protection must suffice.
            lock(stream.fileno(), wait=True)
            yield

    def fill(self, points: Sequence[Settings | None]) -> None:
        """Enqueue a trial for every slot that has none, also after an interrupted process."""
        with self.locked():
            by_slot = self.by_slot()
            for slot, settings in enumerate(points):
                if current_trial(by_slot.get(slot, [])) is None:
                    lost = by_slot.get(slot, [])
                    given = parameters(settings) if settings is not None else _chosen(lost)
                    self.study.enqueue_trial(given, user_attrs={"slot": slot})

    def retry_failed(self) -> int:
        """Let failed trials wait again; returns how many."""
        with self.locked():
            count = 0
            for slot, trials in self.by_slot().items():
                found = current_trial(trials)
                if found is not None and found.state.name == "FAIL":
                    failed = [trial.number for trial in trials]
                    attributes = {"slot": slot, "retries": failed}
                    self.study.enqueue_trial(_chosen(trials), user_attrs=attributes)
                    count += 1
        return count

    def claim(self, process: str) -> optuna.Trial | None:
        """Claim a waiting trial for this process alone; None if none waits."""
        from optuna.trial import TrialState

        with self.locked(), explain_damage(self.url):
            while self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                trial = self.study.ask()
                slot = trial.user_attrs.get("slot")
                self.storage.record_heartbeat(trial._trial_id)
                if slot is not None:
                    trial.set_user_attr("process", process)
                    counts = current_trial(self.by_slot()[slot])
                    if counts is not None and counts.number == trial.number:
                        return trial
                # Two processes filled the same slot, or another took the last one that waited.
                self.fail(trial.number)
        return None

    def sample_by(self, search: OptunaSearch, slot: int) -> None:
        """Sample the next trial as `search` says.

        Seeded by the slot: a resumed sweep must not draw its first trials again.
        """
        import optuna

        seed = search.seed + slot
        self.study.sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=False)
            if search.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        self.study.pruner = {
            "none": optuna.pruners.NopPruner(),
            "median": optuna.pruners.MedianPruner(),
            "asha": optuna.pruners.SuccessiveHalvingPruner(),
        }[search.pruner]

    def fail(self, number: int) -> None:
        """End a trial; without the attribute `failure` it counts as lost, not as failed."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with contextlib.suppress(UpdateFinishedTrialError, ValueError):
            self.study.tell(number, state=TrialState.FAIL)

    def give_back(self, trial: optuna.Trial) -> None:
        """Release a trial that was started here, for another process, or this one later."""
        self.fail(trial.number)
        attributes = {"slot": trial.user_attrs["slot"]}
        retries = trial.user_attrs.get("retries")
        if retries:
            attributes["retries"] = retries
        self.study.enqueue_trial(trial.params, user_attrs=attributes)

    def heartbeat(self, trials: Sequence[optuna.Trial]) -> None:
        for trial in trials:
            self.storage.record_heartbeat(trial._trial_id)

    def take_back_lost(self, is_dead: Callable[[str], bool]) -> None:
        """Release the trials of processes that died; `is_dead` knows the local ones."""
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        fail_stale_trials(self.study)
        long_ago = datetime.now() - timedelta(seconds=4 * GRACE_SECONDS)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            process = trial.user_attrs.get("process")
            # Without one, it was lost while being claimed.
            started = trial.datetime_start or long_ago
            lost = is_dead(process) if process else started < long_ago
            if lost:
                self.fail(trial.number)


def current_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """A slot's current trial: the first that was not lost, or its retry."""
    found: FrozenTrial | None = None
    for trial in trials:
        lost = trial.state.name == "FAIL" and "failure" not in trial.user_attrs
        if lost:
            continue
        if found is None or found.number in trial.user_attrs.get("retries", ()):
            found = trial
    return found


def _chosen(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The parameters that a slot's last trial had, so that its copy has them too."""
    for trial in reversed(trials):
        if trial.params:
            return dict(trial.params)
        if trial.system_attrs.get("fixed_params"):
            return dict(trial.system_attrs["fixed_params"])
    return {}
