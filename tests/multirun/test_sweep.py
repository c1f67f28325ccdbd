"""Sweeps: who trains what, when, and what is told; `quick_train.py` stands for the training."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

import pytest

from cnnrun.config import experiment as config
from cnnrun.multirun.launcher import workers
from cnnrun.multirun.launcher.existing_runs import RunsFound
from cnnrun.multirun.launcher.job import Job
from cnnrun.multirun.launcher.queue import JobList
from cnnrun.multirun.sweep import sweep, trial_queue
from cnnrun.multirun.sweep.plan import Plan
from cnnrun.multirun.sweep.spec import load
from tests import quick_train
from tests.conftest import Command
from tests.postgres import postgres_server
from tests.sweeping import STUB, QuickSweep, apart, join, train_quickly, trials_of, wait_until


@pytest.fixture
def quick(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> QuickSweep:
    train_quickly(monkeypatch)
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    # Making the schema anew for each point takes longer than what these tests look at.
    monkeypatch.setattr(config, "experiment_model", cache(config.experiment_model))
    monkeypatch.chdir(tmp_path)
    return QuickSweep(tmp_path, tiny)


@pytest.mark.slow
def test_a_grid_is_trained_once_and_ranked(quick: QuickSweep, cnnrun: Command) -> None:
    first = cnnrun("sweep", quick.file, "--workers", 2)
    assert first.code == 0, first.err
    rows = [line.split()[:2] for line in first.out.splitlines()[1:5]]
    assert rows == [["0", "0.1"], ["2", "0.2"], ["3", "0.3"], ["1", "0.4"]]
    assert "best     trial 0: 90.00 % ± 0.00" in first.out
    assert "cnnrun train sweeps/quick/base.yaml optimizer.lr=0.1 seed=0" in first.out
    again = cnnrun("sweep", quick.file)
    assert again.out == first.out
    quick.assert_each_once(8)


@pytest.mark.slow
def test_a_wider_grid_trains_only_what_is_new(quick: QuickSweep, cnnrun: Command) -> None:
    quick.write("grid: {optimizer.lr: [0.1, 0.4]}\nseeds: 2\n")
    cnnrun("sweep", quick.file)
    quick.write("grid: {optimizer.lr: [0.05, 0.4, 0.1]}\nseeds: 2\n")
    result = cnnrun("sweep", quick.file, "--json")
    assert [t["settings"]["optimizer.lr"] for t in trials_of(result.out)] == [0.05, 0.1, 0.4]
    quick.assert_each_once(4 + 2)


@pytest.mark.slow
def test_failed_trials_are_recorded_and_retried_only_when_asked(
    quick: QuickSweep, cnnrun: Command
) -> None:
    quick.write("grid: {optimizer.lr: [5.0, 0.5]}\nseeds: 2\n")
    first = cnnrun("sweep", quick.file, "--json")
    good, bad = trials_of(first.out)
    assert (good["state"], good["mean"]) == ("finished", 0.5)
    assert (bad["state"], bad["mean"]) == ("failed", None)
    assert bad["message"] == "seed 0: the loss is not a number"
    assert "1 of 2 trials failed; --retry-failed runs them again" in first.err
    cnnrun("sweep", quick.file)
    assert quick.starts() == ["5.0 0", "0.5 0", "0.5 1"]
    retried = cnnrun("sweep", quick.file, "--retry-failed")
    assert quick.starts() == ["5.0 0", "0.5 0", "0.5 1"]
    assert quick.resumed() == 1
    assert "trial 0 failed: seed 0: the loss is not a number" in retried.out
    assert "best     trial 1" in retried.out


@pytest.mark.slow
def test_a_sweep_of_failures_alone_fails(quick: QuickSweep, cnnrun: Command) -> None:
    quick.write("grid: {optimizer.lr: [5.0, 6.0]}")
    result = cnnrun("sweep", quick.file)
    assert result.code == 1
    assert "all 2 trials failed; the first: seed 0: the loss is not a number" in result.err
    assert "best" not in result.out


def test_a_run_that_does_not_say_where_it_is_has_failed(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYS", "nothing")
    quick.write("grid: {optimizer.lr: [0.1]}\n")
    ended = cnnrun("sweep", quick.file)
    assert ended.code == 1
    assert "ended without naming its run directory" in ended.err
    assert "a bug" not in ended.err


@pytest.mark.slow
def test_a_run_without_a_score_is_a_failure(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCORE", "none")
    result = cnnrun("sweep", quick.file, "grid={optimizer.lr: [0.1]}")
    assert result.code == 1
    assert "has no validation_accuracy" in result.err
    assert "set dataset.validation" in result.err


@pytest.mark.slow
def test_dry_run_prints_what_a_shell_can_run(quick: QuickSweep, cnnrun: Command) -> None:
    quick.write("grid: {optimizer.lr: [0.1, 0.4]}\nseeds: 2\n")
    lines = cnnrun("sweep", quick.file, "--dry-run").out.splitlines()
    assert len(lines) == 4
    assert lines[3] == (
        "cnnrun train sweeps/quick/base.yaml optimizer.lr=0.4 seed=1 output=sweeps/quick/runs -q"
    )
    assert quick.starts() == []
    stub = " ".join(STUB)
    for line in lines:
        assert os.system(line.replace("cnnrun", stub, 1) + " > /dev/null") == 0
    result = cnnrun("sweep", quick.file)
    assert "best     trial 0" in result.out
    quick.assert_each_once(4)


class TestSeedsTogether:
    TEXT = "grid: {optimizer.lr: [0.1, 0.4]}\nseeds: 3\nseeds_in_parallel: true\n"

    @pytest.mark.slow
    def test_one_process_trains_them(self, quick: QuickSweep, cnnrun: Command) -> None:
        quick.write(self.TEXT)
        first = cnnrun("sweep", quick.file, "--workers", 2)
        assert first.code == 0, first.err
        assert "best     trial 0: 90.00 %" in first.out
        quick.assert_each_once(6)
        logs = {file.stem for file in (quick.sweep_folder / "logs").iterdir()}
        assert len(logs) == 2
        assert all(name.endswith("-all") for name in logs)
        quick.write(self.TEXT.replace("0.4]", "0.4, 0.2]"))
        assert "0.2" in cnnrun("sweep", quick.file).out
        quick.assert_each_once(9)

    @pytest.mark.slow
    def test_where_that_fails_they_are_trained_one_by_one(
        self, quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOGETHER", "fails")
        quick.write(self.TEXT)
        result = cnnrun("sweep", quick.file, "--workers", 2)
        assert result.code == 0, result.err
        assert "seeds one by one, as together they failed: seeds: not this model" in result.err
        quick.assert_each_once(6)

    @pytest.mark.slow
    def test_seeds_that_were_begun_alone_go_on_alone(
        self, quick: QuickSweep, cnnrun: Command
    ) -> None:
        quick.write(self.TEXT.replace("3", "1").replace("[0.1, 0.4]", "[0.1]"))
        cnnrun("sweep", quick.file)
        quick.write(self.TEXT)
        assert cnnrun("sweep", quick.file).code == 0
        quick.assert_each_once(6)

    @pytest.mark.slow
    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
    def test_killed_and_continued(
        self, quick: QuickSweep, cnnrun: Command, sent: signal.Signals
    ) -> None:
        quick.write(self.TEXT)
        killed = apart(sweep.start, quick.file, [], sweep.LaunchOptions(1), SECONDS="0.3")
        wait_until(lambda: len(quick.starts()) >= 2)
        os.kill(killed.pid or 0, sent)
        killed.join()
        result = cnnrun("sweep", quick.file, "--workers", 2)
        # What it had claimed is free at once, not when its silence has been noticed.
        assert "other processes train" not in result.err
        assert result.code == 0, result.err
        quick.assert_each_once(6)

    def test_the_commands_of_a_dry_run(self, quick: QuickSweep, cnnrun: Command) -> None:
        quick.write(self.TEXT)
        lines = cnnrun("sweep", quick.file, "--dry-run").out.splitlines()
        assert len(lines) == 2
        assert "--seeds 0,1,2" in lines[0]
        assert "seed=" not in lines[0]

    def test_no_pruner_stops_one_of_them(self, quick: QuickSweep, cnnrun: Command) -> None:
        quick.write(
            "optuna: {trials: 2, pruner: asha, space: {optimizer.lr: {uniform: [0.1, 0.5]}}}\n"
            "seeds: 2\nseeds_in_parallel: true\n"
        )
        refused = cnnrun("sweep", quick.file)
        assert refused.code == 2
        assert "seeds_in_parallel: a pruner stops single seeds; set pruner: none" in refused.err


@pytest.mark.slow
def test_killed_and_continued_every_run_is_there_once(quick: QuickSweep, cnnrun: Command) -> None:
    killed = apart(sweep.start, quick.file, [], sweep.LaunchOptions(2), SECONDS="0.15")
    wait_until(lambda: len(quick.starts()) >= 4)
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    result = cnnrun("sweep", quick.file, "--workers", 2)
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()[1:5]] == ["0", "2", "3", "1"]
    quick.assert_each_once(8)
    assert quick.resumed() >= 1


@pytest.mark.slow
def test_ctrl_c_saves_the_runs_and_says_how_to_go_on(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "0.5")

    def press() -> None:
        wait_until(lambda: len(quick.starts()) >= 2)
        os.kill(os.getppid(), signal.SIGINT)

    presses = apart(press)
    stopped = cnnrun("sweep", quick.file, "--workers", 2)
    presses.join()
    assert stopped.code == 130
    assert "0 of 4 trials are done" in stopped.err
    assert f"continue: cnnrun sweep {quick.file}" in stopped.err
    monkeypatch.setenv("SECONDS", "0")
    assert cnnrun("sweep", quick.file).code == 0
    quick.assert_each_once(8)


@pytest.mark.slow
def test_two_that_join_share_the_trials_of_an_sqlite_file(
    quick: QuickSweep, cnnrun: Command
) -> None:
    quick.write("random: {trials: 6, space: {optimizer.lr: {uniform: [0.1, 0.9]}}}")
    cnnrun("sweep", quick.file, "--dry-run")
    both = [
        apart(join, str(quick.sweep_folder), quick.folder, sweep.LaunchOptions(1), SECONDS="0.02")
        for _ in range(2)
    ]
    result = cnnrun("sweep", quick.file, "--json")
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert [trial["state"] for trial in trials_of(result.out)] == ["finished"] * 6
    quick.assert_each_once(6)


@pytest.mark.slow
def test_machines_share_a_sweep_through_postgresql(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.write("optuna: {trials: 6, space: {optimizer.lr: {log_uniform: [0.01, 0.9]}}}")
    other = quick.folder / "another machine"
    other.mkdir()

    def finished(machine: Path) -> int:
        return len(list(machine.glob("sweeps/quick/runs/*/*/summary.json")))

    def wait_for_the_other(*_: object) -> None:
        wait_until(lambda: finished(other))

    with postgres_server() as url:
        with monkeypatch.context() as first:
            first.setattr(quick_train, "before_epoch", wait_for_the_other)
            begun = apart(sweep.start, quick.file, [f"storage={url}"], sweep.LaunchOptions(1))
        wait_until(lambda: quick.starts())
        joined = apart(join, url, other, sweep.LaunchOptions(1))
        for process in (begun, joined):
            process.join()
            assert process.exitcode == 0
        result = cnnrun("sweep", "--join", url, "--json")
    trials = trials_of(result.out)
    assert [trial["state"] for trial in trials] == ["finished"] * 6
    assert sorted(trial["trial"] for trial in trials) == list(range(6))
    assert len(set(quick.starts())) == len(quick.starts()) == 6
    here, there = finished(quick.folder), finished(other)
    assert here + there == 6
    assert min(here, there) >= 1


@pytest.mark.slow
def test_pruned_trials_are_cut_short_and_never_best(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_to_be_pruned(epoch: int, lr: float) -> None:
        """Of those that begin when five have ended, the ones above the median wait to be told."""
        started = [float(start.split()[0]) for start in quick.starts()]
        if lr not in started[:5]:
            wait_until(lambda: len(list(quick.sweep_folder.rglob("summary.json"))) >= 5)
            wait_until(lambda: epoch < 2 or lr < sorted(started[:5])[2])

    monkeypatch.setattr(quick_train, "before_epoch", wait_to_be_pruned)
    monkeypatch.setattr(trial_queue, "PRUNE_SECONDS", 0.1)
    quick.write(
        "set: {training.epochs: 5}\n"
        "optuna: {trials: 8, seed: 3, sampler: random, pruner: median,\n"
        "         space: {optimizer.lr: {uniform: [0.1, 0.9]}}}\n"
    )
    trials = trials_of(cnnrun("sweep", quick.file, "--json", "--workers", 5).out)
    rates = {trial["trial"]: trial["settings"]["optimizer.lr"] for trial in trials}
    median = sorted(rates[slot] for slot in range(5))[2]
    worse = [slot for slot in (5, 6, 7) if rates[slot] > median]
    assert worse, "another seed would show something"
    assert [trial["trial"] for trial in trials if trial["state"] == "pruned"] == worse
    assert trials[0]["settings"]["optimizer.lr"] == min(rates.values())
    assert all(trial["mean"] is None for trial in trials if trial["trial"] in worse)
    lengths = sorted(
        len(file.read_text().splitlines()) for file in quick.sweep_folder.rglob("metrics.jsonl")
    )
    assert lengths[len(worse) - 1] < 5 == lengths[len(worse)]


@pytest.mark.slow
def test_equal_points_of_a_search_are_trained_once(quick: QuickSweep, cnnrun: Command) -> None:
    quick.write("optuna: {trials: 6, space: {optimizer.lr: [0.1, 0.2]}}")
    trials = trials_of(cnnrun("sweep", quick.file, "--json", "--workers", 3).out)
    assert [trial["state"] for trial in trials] == ["finished"] * 6
    quick.assert_each_once(len({trial["settings"]["optimizer.lr"] for trial in trials}))


@pytest.mark.slow
def test_a_list_of_jobs_runs_without_a_storage(quick: QuickSweep) -> None:
    jobs = [
        Job(
            quick.folder / "base.yaml",
            (f"optimizer.lr={lr}",),
            quick.folder / "out",
            f"k{lr}",
            0,
            0,
        )
        for lr in (0.1, 0.2, 7.0)
    ]
    queue = JobList(jobs)
    pool = workers.Workers(2, RunsFound(quick.folder / "out"), quick.folder / "logs")
    assert pool.work(queue) is None
    told = {outcome.job.key: outcome.message for outcome in queue.outcomes}
    assert told == {"k0.1": "", "k0.2": "", "k7.0": "the loss is not a number"}


@pytest.mark.slow
def test_cnnrun_train_itself_makes_the_run_that_was_planned(tiny: Path, cnnrun: Command) -> None:
    file = tiny.with_name("real.yaml")
    file.write_text("base: tiny.yaml\ngrid: {optimizer.lr: [0.1]}\nset: {training.epochs: 1}\n")
    result = cnnrun("sweep", file, "--json")
    assert result.code == 0, result.err
    (trial,) = trials_of(result.out)
    plan = Plan(load(file))
    run = RunsFound(plan.runs).finished(plan.jobs(0, plan.points[0] or {})[0])
    assert run is not None
    assert str(run.path) == trial["runs"]["0"]
    assert trial["mean"] == run.read_metrics()[0]["validation_accuracy"]


def test_workers_share_cores_and_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(workers, "cores", lambda: 8)
    pool = workers.Workers(3, RunsFound(tmp_path), tmp_path, gpus=["4", "7"])
    shares = [pool._environment(slot) for slot in range(3)]
    assert [share["OMP_NUM_THREADS"] for share in shares] == ["2", "2", "2"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4", "7", "4"]


def test_join_names_what_is_missing(cnnrun: Command, tmp_path: Path) -> None:
    assert "no sweep.yaml in it" in cnnrun("sweep", "--join", tmp_path).err
    result = cnnrun("sweep", "--join", f"sqlite:///{tmp_path}/empty.db")
    assert "it holds no sweeps" in result.err
    assert cnnrun("sweep").code == 2


# Where a process writes to a trial: after any sleep, another one may have it.
WRITES = ["_fill", "_note_score", "_keep", "_report", "_finish", "_end"]


@pytest.mark.slow
@pytest.mark.parametrize("at", WRITES)
def test_a_trial_that_was_taken_over_while_the_machine_slept_ends_nothing(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(trial_queue, "PRUNE_SECONDS", 0.0)
    monkeypatch.setattr(trial_queue, "LOOK_SECONDS", 0.2)
    quick.write(
        "optuna: {trials: 2, sampler: random, pruner: median,\n"
        "         space: {optimizer.lr: {uniform: [0.1, 0.9]}}}\nseeds: 2\n"
    )
    write, slept = getattr(trial_queue.TrialQueue, at), []

    def sleep_first(self: trial_queue.TrialQueue, work: trial_queue.OpenTrial, *rest: object):  # type: ignore[no-untyped-def]
        if not slept:
            slept.append(work.slot)
            self.trials.fail(work.trial.number)
        return write(self, work, *rest)

    monkeypatch.setattr(trial_queue.TrialQueue, at, sleep_first)
    ended = cnnrun("sweep", quick.file, "--json")
    assert ended.code == 0, ended.err
    assert slept
    assert f"trial {slept[0]} was taken over by another process meanwhile" in ended.err
    assert [trial["state"] for trial in trials_of(ended.out)] == ["finished", "finished"]


def test_a_look_at_the_storage_beats_first(
    quick: QuickSweep, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a sleep no beat is due by this process's clock, which stood still."""
    calls: list[str] = []
    for name in ("heartbeat", "take_back_lost"):
        method = getattr(trial_queue.Trials, name)

        def noted(self: object, given: object, name: str = name, method: object = method) -> None:
            calls.append(name)
            method(self, given)  # type: ignore[operator]

        monkeypatch.setattr(trial_queue.Trials, name, noted)
    monkeypatch.setattr(trial_queue, "HEARTBEAT_SECONDS", 10**9)
    quick.write("grid: {optimizer.lr: [0.1]}\n")
    assert cnnrun("sweep", quick.file).code == 0
    looks = [at for at, name in enumerate(calls) if name == "take_back_lost"]
    assert looks
    assert all(calls[at - 1] == "heartbeat" for at in looks)
