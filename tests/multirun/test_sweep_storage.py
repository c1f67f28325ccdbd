"""Trials in the storage: each has one owner, whatever dies or is done twice."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from cnnrun.errors import UserError
from cnnrun.multirun.sweep import database, storage
from cnnrun.multirun.sweep.database import driver_named, require_optuna
from cnnrun.multirun.sweep.liveness import Liveness
from cnnrun.multirun.sweep.storage import Recorded, Trials, current_trial
from cnnrun.multirun.sweep.stored import shown
from tests.conftest import HANGS, Command

FORK = multiprocessing.get_context("fork")


def opened(folder: Path) -> Trials:
    require_optuna()
    return Trials(f"sqlite:///{folder}/sweep.db", "test", True, folder / ".lock")


def fill_and_claim(folder: Path, claimed: list[int]) -> None:
    trials = opened(folder)
    trials.fill([{"a": i} for i in range(12)])
    while (trial := trials.claim("someone")) is not None:
        claimed.append(trial.user_attrs["slot"])


@pytest.mark.slow
def test_processes_that_fill_and_claim_at_once_get_each_trial_once(tmp_path: Path) -> None:
    with FORK.Manager() as manager:
        claimed = manager.list()
        processes = [FORK.Process(target=fill_and_claim, args=(tmp_path, claimed)) for _ in "123"]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert sorted(claimed) == list(range(12))


def test_a_slot_filled_twice_is_claimed_once(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    for slot in (0, 1, 0, 1, 1):
        trials.study.enqueue_trial({"a": slot}, user_attrs={"slot": slot})
    claimed = []
    while (trial := trials.claim("me")) is not None:
        claimed.append(trial.user_attrs["slot"])
    assert Counter(claimed) == {0: 1, 1: 1}


def test_what_was_given_back_or_lost_waits_again_with_the_same_settings(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    trials.fill([{}, {}])
    first = trials.claim("me")
    assert first is not None
    chosen = first.suggest_float("lr", 0, 1)
    trials.give_back(first)
    other, again = trials.claim("me"), trials.claim("me")
    assert other is not None
    assert again is not None
    assert [t.user_attrs["slot"] for t in (first, other, again)] == [0, 1, 0]
    assert again.suggest_float("lr", 0, 1) == chosen
    trials.take_back_lost(lambda process: process == "me")
    assert trials.current_trials() == {}
    trials.fill([{}, {}])
    assert [trial.state.name for trial in trials.current_trials().values()] == [
        "WAITING",
        "WAITING",
    ]


def test_a_machine_that_is_silent_for_long_loses_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (database, storage):
        monkeypatch.setattr(module, "GRACE_SECONDS", 1)
    trials = opened(tmp_path)
    trials.fill([{}])
    trial = trials.claim("on another machine")
    assert trial is not None
    trials.take_back_lost(lambda _: False)
    assert trials.current_trials()[0].number == trial.number
    time.sleep(2.2)
    trials.take_back_lost(lambda _: False)
    assert trials.current_trials() == {}


def test_a_retry_takes_the_place_of_the_failure_even_if_asked_for_twice(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    trials.fill([{"a": 1}])
    first = trials.claim("me")
    assert first is not None
    first.set_user_attr("failure", "no luck")
    trials.fail(first.number)
    assert current_trial(trials.by_slot()[0]) is not None
    trials.fill([{"a": 1}])
    assert trials.claim("me") is None, "a failure is not repeated unasked"
    assert trials.retry_failed() == 1
    assert trials.retry_failed() == 0, "it waits already"
    again = trials.claim("me")
    assert again is not None
    trials.study.tell(again.number, 0.5)
    assert trials.current_trials()[0].number == again.number
    assert trials.retry_failed() == 0


def test_a_process_is_dead_once_its_lock_is_free(tmp_path: Path) -> None:
    here = Liveness(tmp_path)
    names = FORK.Queue()

    def live() -> None:
        there = Liveness(tmp_path)
        names.put(there.name)
        time.sleep(60)

    process = FORK.Process(target=live)
    process.start()
    name = names.get(timeout=HANGS)
    assert not here.is_dead(name)
    assert not here.is_dead(here.name)
    assert not here.is_dead("elsewhere")
    process.kill()
    process.join()
    assert here.is_dead(name)
    here.leave()
    assert [file.stem for file in tmp_path.iterdir()] == [name]


def test_a_password_is_never_shown() -> None:
    assert shown("postgresql://me:secret@host:1/db") == "postgresql://me:***@host:1/db"
    assert shown("sqlite:////tmp/x.db") == "sqlite:////tmp/x.db"
    assert driver_named("postgresql://h/db") == "postgresql+psycopg2://h/db"
    assert driver_named("mysql://h/db") == "mysql://h/db"


def _changed(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(statement).rowcount
        connection.commit()


DAMAGE = {
    "a slot that is no number": "UPDATE trial_user_attributes SET value_json = '\"x\"' "
    "WHERE key = 'slot'",
    "a slot beyond all": "UPDATE trial_user_attributes SET value_json = '-1' WHERE key = 'slot'",
    "no JSON": "UPDATE trial_user_attributes SET value_json = '[' WHERE key = 'seed 0'",
    "a score that is text": "UPDATE trial_user_attributes SET value_json = "
    '\'{"key": "k", "run": "r", "score": "best"}\' WHERE key = \'seed 0\'',
    "no score": "DELETE FROM trial_user_attributes WHERE key = 'seed 0'",
    "a state of another program": "UPDATE trials SET state = 'DONE'",
    "settings that are a list": "UPDATE trial_user_attributes SET value_json = '[1]' "
    "WHERE key = 'settings'",
    "another version": "UPDATE alembic_version SET version_num = 'x'",
    "a study without its base": "DELETE FROM study_user_attributes WHERE key = 'base.yaml'",
    "no studies": "DELETE FROM studies",
    "a study's notes that are null": "UPDATE study_user_attributes SET value_json = NULL",
    "a study's notes that are no JSON": "UPDATE study_user_attributes SET value_json = ''",
    "a column that is missing": "ALTER TABLE version_info RENAME COLUMN schema_version TO v",
    "a study whose name is no text": "UPDATE studies SET study_name = x'00ff'",
}


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """The database of a sweep with one trial, which has ended."""
    trials = opened(tmp_path)
    trials.study.set_user_attr("sweep.yaml", "name: test\n")
    trials.study.set_user_attr("base.yaml", "")
    trials.fill([{"a": 1}])
    trial = trials.claim("me")
    assert trial is not None
    trial.set_user_attr("settings", {"a": 1})
    trial.set_user_attr("seed 0", {"key": "k", "run": "r", "score": 0.5})
    trials.study.tell(trial, 0.5)
    return tmp_path / "sweep.db"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_database_is_told_as_one(cnnrun: Command, ended: Path, damage: str) -> None:
    """Whoever looks at it or joins in: nothing is computed with it, and nothing is called a bug."""
    _changed(ended, DAMAGE[damage])
    joined = cnnrun("sweep", "--join", f"sqlite:///{ended}")
    assert joined.code in (1, 2)
    assert "a bug" not in joined.err
    if damage != "no studies" and not damage.startswith("a study"):
        with pytest.raises(UserError, match=r"storage sqlite:.*sweep\.db"):
            opened(ended.parent)
        with pytest.raises(UserError, match=r"storage sqlite:.*sweep\.db"):
            Recorded(f"sqlite:///{ended}", "test")


def test_a_whole_database_is_read(ended: Path) -> None:
    [trial] = Recorded(f"sqlite:///{ended}", "test").current_trials().values()
    assert trial.user_attrs["seed 0"]["score"] == 0.5
