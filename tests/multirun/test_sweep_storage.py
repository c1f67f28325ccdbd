"""Trials in the storage: each has one owner, whatever dies or is done twice."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from pathlib import Path

import pytest

from cnnrun.multirun.sweep import storage
from cnnrun.multirun.sweep.presence import Presence
from cnnrun.multirun.sweep.storage import Trials, driver_named, owner, require_optuna, shown

FORK = multiprocessing.get_context("fork")


def opened(folder: Path) -> Trials:
    require_optuna()
    return Trials(f"sqlite:///{folder}/sweep.db", "test", True, folder / ".lock")


def fill_and_claim(folder: Path, claimed: list[int]) -> None:
    trials = opened(folder)
    trials.fill([{"a": i} for i in range(12)])
    while (trial := trials.claim("someone")) is not None:
        claimed.append(trial.user_attrs["slot"])


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
    assert trials.owners() == {}
    trials.fill([{}, {}])
    assert [trial.state.name for trial in trials.owners().values()] == ["WAITING", "WAITING"]


def test_a_machine_that_is_silent_for_long_loses_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "GRACE_SECONDS", 1)
    trials = opened(tmp_path)
    trials.fill([{}])
    trial = trials.claim("on another machine")
    assert trial is not None
    trials.take_back_lost(lambda _: False)
    assert trials.owners()[0].number == trial.number
    time.sleep(2.2)
    trials.take_back_lost(lambda _: False)
    assert trials.owners() == {}


def test_a_retry_takes_the_place_of_the_failure_even_if_asked_for_twice(tmp_path: Path) -> None:
    trials = opened(tmp_path)
    trials.fill([{"a": 1}])
    first = trials.claim("me")
    assert first is not None
    first.set_user_attr("failure", "no luck")
    trials.fail(first.number)
    assert owner(trials.by_slot()[0]) is not None
    trials.fill([{"a": 1}])
    assert trials.claim("me") is None, "a failure is not repeated unasked"
    assert trials.retry_failed() == 1
    assert trials.retry_failed() == 0, "it waits already"
    again = trials.claim("me")
    assert again is not None
    trials.study.tell(again.number, 0.5)
    assert trials.owners()[0].number == again.number
    assert trials.retry_failed() == 0


def test_a_process_is_dead_once_its_lock_is_free(tmp_path: Path) -> None:
    here = Presence(tmp_path)
    names = FORK.Queue()

    def live() -> None:
        there = Presence(tmp_path)
        names.put(there.name)
        time.sleep(60)

    process = FORK.Process(target=live)
    process.start()
    name = names.get(timeout=20)
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
