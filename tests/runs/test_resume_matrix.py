"""A resumed run: locked first, changed by training alone, no change silently ignored."""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cnnrun import runner
from cnnrun.config.document import flattened
from cnnrun.config.experiment import load
from cnnrun.config.identity import Role, role
from cnnrun.errors import UserError
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.lock import TakenError, alone_in, is_training
from cnnrun.runtime.reading import TEXT_BYTES
from tests.conftest import THOROUGH, Command

SMALL = ("dataset.limit=120", "training.draw=false", "training.checkpoint_every=1 steps")


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run, but for the note of a batch that failed."""
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted(run.rglob("*"))
        if file.is_file() and file.name != "bad_batch.json"
    }


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def as_stopped(run: Path, epochs: int) -> None:
    """Let a finished run look like one that was killed before its end: `epochs` were asked for."""
    (run / "summary.json").unlink()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["training"]["epochs"] = epochs
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in ("last", "best"):
        held = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
        held["config"]["training"]["epochs"] = epochs
        torch.save(held, run / "checkpoints" / f"{name}.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs that has a value for many keys."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "x.yaml").write_text(
        "dataset: {name: digits, batch_size: 40, augment: [{name: rotation}]}\n"
        "model: {name: cnn, channels: [4], batch_norm: true, head_pooling: average}\n"
        "optimizer: {name: sgd, lr: 0.05, momentum: 0.9}\n"
        "device: cpu\ntraining: {epochs: 2, draw: false, patience: 9}\n"
    )
    experiment = load(folder / "x.yaml", [f"output={folder}", *SMALL])
    return runner.train(experiment, quiet=True).path


@pytest.fixture
def finished(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "finished"))


@pytest.fixture
def stopped(trained: Path, tmp_path: Path) -> Path:
    run = Path(shutil.copytree(trained, tmp_path / "stopped"))
    as_stopped(run, 3)
    return run


# Another valid value of each key of that run's config; keys that are not here have it derived.
OTHERS: dict[str, str] = {
    "dataset.range": "[0, 200]",
    "dataset.page": "0",
    "name": "other", "device": "auto", "output": "elsewhere", "plugins": "[]", "seed": "1",
    "task.name": "reconstruct", "task.tta": "flip", "transfer": "{freeze: features}",
    "dataset.name": "shapes", "dataset.limit": "100", "dataset.per_class": "5",
    "dataset.validation": "0.2", "dataset.fold": "2/5", "dataset.size": "10",
    "dataset.resize": "squash", "dataset.channels": "rgb", "dataset.displace": "0.1",
    "dataset.normalize": "none", "dataset.augment": "[]", "dataset.interpolation": "bilinear",
    "dataset.on_error": "skip", "dataset.check": "none",
    "dataset.cache": "ram", "dataset.cache_dir": "elsewhere",
    "dataset.threads": "1", "model.name": "mlp", "model.kind": "locally_connected",
    "model.channels": "[6]", "model.padding": "0", "model.padding_mode": "reflect",
    "model.pooling": "average", "model.pool_stride": "1", "model.activation": "gelu",
    "model.head_pooling": "flatten", "model.head": "[4]", "initializer.name": "zeros",
    "loss.name": "focal", "loss.weight": "balanced", "optimizer.name": "adam",
    "schedule.name": "cosine", "training.monitor": "loss", "training.checkpoint_every": "7 steps",
    "training.clip_norm": "1", "training.ema": "0.9", "training.swa": "0.5",
    "training.on_nan": "skip", "dataset.sampler": "balanced",
    "training.amp": "bf16", "training.compile": "cuda_graphs", "training.progressive_from": "0.5",
    "loggers": "[csv]", "dataset.bits": "8", "training.epochs": "4",
}  # fmt: skip
# What only a GPU has: refused, with the reason.
REFUSED_ELSEWHERE = {"training.compile"}


def other_value(key: str, value: Any) -> str:
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(value, bool):
        return "false" if value else "true"
    if isinstance(value, int):
        return str(value + 1)
    assert isinstance(value, float), f"{key}: what else could it be than {value!r}?"
    return str(value + 0.05)


STATES = ("stopped", "finished", "running")


def what_became_of(
    run: Path, key: str, change: str, state: str, capsys: pytest.CaptureFixture[str]
) -> str:
    """`refused`, `without effect` or `allowed`: going on with `run`, a copy, with one key changed.

    What is said and left must fit the key's role; whatever else is raised is a bug.
    """
    values = flattened(yaml.safe_load((run / "config.yaml").read_text()))
    kind, epochs = role(key, values), values["training.epochs"]
    if state == "stopped":
        as_stopped(run, epochs + 1)
    before, told = contents(run), ""
    capsys.readouterr()
    try:
        if state == "running":
            with alone_in(RunDirectory(run)):
                runner.resume(run, [change], quiet=True)
        else:
            runner.resume(run, [change], quiet=True)
    except UserError as error:
        told = str(error)
    if told:
        assert contents(run) == before, (change, state)
    err = capsys.readouterr().err
    case, last = (change, state, told, err), key.rpartition(".")[2]
    if state == "running":
        assert "another process is training" in told, case
    elif kind is Role.FIXED:
        assert "start a new one" in told or last in told, case
    elif kind is Role.START or key == "plugins":
        assert told == "", case
        assert key == "plugins" or f"no effect on a run that is resumed: {key}" in err, case
        return "without effect"
    elif state == "finished" and key != "training.epochs":
        assert "nothing is left to train" in told or last in told, case
    elif told:  # it does not fit what else the experiment has, or this machine
        assert last in told or key.partition(".")[0] in told, case
    else:
        assert f"changed  {key}" in err, case
        changes = RunDirectory(run).read_changes()
        assert key in {one["key"] for one in changes}, case
        assert {one["epoch"] for one in changes} == {epochs}, case
        assert len(rows_of(run)) > epochs, case
        return "allowed"
    assert told, case
    return "refused"


def every_key(
    trained: Path, folder: Path, capsys: pytest.CaptureFixture[str], states_of: Callable[[int], Any]
) -> dict[str, list[str]]:
    values = flattened(yaml.safe_load((trained / "config.yaml").read_text()))
    assert len(values) > 65
    found: dict[str, list[str]] = {}
    for number, (key, value) in enumerate(values.items()):
        change = f"{key.removesuffix('.name')}={other_value(key, value)}"
        for state in states_of(number):
            run = Path(shutil.copytree(trained, folder / f"{number}-{state}"))
            outcome = what_became_of(run, key, change, state, capsys)
            found.setdefault(f"{state}: {outcome}", []).append(key)
            shutil.rmtree(run)
    return found


@pytest.mark.slow
def test_each_key_is_refused_allowed_or_told_to_be_without_effect(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a run that was stopped; some keys on a finished or a training one as well."""
    monkeypatch.chdir(tmp_path)
    found = every_key(
        trained, tmp_path, capsys, lambda n: ("stopped", *STATES[1:][n % 6 : n % 6 + 1])
    )
    assert {"training.epochs", "optimizer.lr", "loss.name"} <= set(found["stopped: allowed"])
    refused = set(found["stopped: refused"])
    assert {"seed", "model.channels", "dataset.batch_size"} <= refused
    # What only a GPU has is refused though a run might go on with it; nothing else.
    values = flattened(yaml.safe_load((trained / "config.yaml").read_text()))
    assert {k for k in refused if role(k, values) is not Role.FIXED} <= REFUSED_ELSEWHERE
    assert len(found["stopped: without effect"]) > 2


@pytest.mark.slow
def test_each_key_in_each_state(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    found = every_key(trained, tmp_path, capsys, lambda n: STATES if THOROUGH or n % 9 == 4 else ())
    assert set(found) >= {f"{state}: refused" for state in STATES}


def _hold(name: str) -> Callable[[Path], Any]:
    def damage(run: Path) -> None:
        for file in (run / "checkpoints").glob(name):
            file.write_bytes(b"damaged")

    return damage


def _lose_checkpoints(run: Path) -> None:
    for file in (run / "checkpoints").iterdir():
        file.unlink()


REFUSALS: dict[str, tuple[list[str], Callable[[Path], Any], str]] = {
    "an unknown key": (["optimizer.lrr=1"], lambda _: None, "lrr"),
    "a bad value": (["training.epochs=none"], lambda _: None, "epochs"),
    "a key that is fixed": (["seed=5", "training.epochs=5"], lambda _: None, "seed: 0 -> 5"),
    "a warm-up that is too long": (["schedule.warmup_epochs=50"], lambda _: None, "warmup_epochs"),
    "a metric that there is not": (["training.monitor=accurcy"], lambda _: None, "accurcy"),
    "fewer epochs than are trained": (["training.epochs=1"], lambda _: None, "nothing is left"),
    "patience that has run out": (["training.epochs=9", "training.patience=1"],
                                  lambda run: _best_was(run, 1), "nothing is left"),
    "both checkpoints damaged": (["training.epochs=5"], _hold("*.pt"), "last.pt"),
    "checkpoints that are gone": (["training.epochs=5"], _lose_checkpoints, "gone or damaged"),
    "a loss that is no number": (["training.epochs=5", "optimizer.lr=1e30",
                                  "training.checkpoint_every=50 steps"],
                                 lambda _: None, ""),
    "a device that is not there": (["device=cuda:7", "training.epochs=5"], lambda _: None, "cuda"),
    "a logger that is not there": (["training.epochs=5", "loggers=[none]"], lambda _: None, "none"),
    "a transfer": (["transfer={freeze: features}"], lambda _: None, "transfer"),
    "edited by hand": ([], lambda run: _edit(run, "dataset", "batch_size", 20), "40 -> 20"),
    "a summary that is no summary": (["training.epochs=5"],
                                     lambda run: (run / "summary.json").write_text("[1"),
                                     "summary.json"),
    "an environment that can't be written": (["training.epochs=5"],
                                             lambda run: _folder(run / "environment.json"),
                                             "environment.json"),
    "changes that can't be written": (["training.epochs=5"],
                                      lambda run: _folder(run / "changes.jsonl"),
                                      "changes.jsonl"),
}  # fmt: skip


def _folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()
    (file / "something").touch()


def _edit(run: Path, section: str, key: str, value: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section][key] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _best_was(run: Path, epoch: int) -> None:
    row = rows_of(run)[epoch - 1]
    rank = [row["validation_accuracy"], -row["validation_loss"]]
    for name, more in (("last", {}), ("best", {"epoch": epoch, "step": row["step"]})):
        held = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
        held["progress"] |= {"best_epoch": epoch, "best": rank, **more}
        torch.save(held, run / "checkpoints" / f"{name}.pt")


@pytest.mark.parametrize("state", ["stopped", "finished"])
@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_refused_or_fails_leaves_every_byte(
    what: str, state: str, request: pytest.FixtureRequest, cnnrun: Command
) -> None:
    run: Path = request.getfixturevalue(state)
    changes, prepare, told = REFUSALS[what]
    prepare(run)
    before = contents(run)
    ended = cnnrun("train", "--resume", run, *changes, "-q")
    assert ended.code in (1, 2), ended
    assert told in ended.err
    assert "bug" not in ended.err
    assert contents(run) == before


def test_training_that_fails_after_it_saved_keeps_what_was_changed(
    stopped: Path, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnrun.engine.trainer import Trainer

    def fail(*_: object) -> None:
        raise UserError("the disk is gone")

    with monkeypatch.context() as failing:
        failing.setattr(Trainer, "finish_epoch", fail)
        ended = cnnrun("train", "--resume", stopped, "optimizer.lr=0.01", "-q")
    assert (ended.code, "the disk is gone" in ended.err) == (1, True)
    assert "lr: 0.01" in (stopped / "config.yaml").read_text()
    [change] = RunDirectory(stopped).read_changes()
    assert (change["key"], change["old"], change["new"]) == ("optimizer.lr", 0.05, 0.01)
    assert cnnrun("train", "--resume", stopped, "-q").code == 0
    assert len(RunDirectory(stopped).read_changes()) == 1, "the same change is noted once"
    assert rows_of(stopped)[2]["lr"] == 0.01


def test_a_finished_run_is_changed_by_training_alone(finished: Path, cnnrun: Command) -> None:
    ended = cnnrun("train", "--resume", finished, "training.epochs=3", "optimizer.lr=0.02", "-q")
    assert ended.code == 0, ended.err
    changes = {one["key"]: (one["old"], one["new"], one["epoch"], one["step"])
               for one in RunDirectory(finished).read_changes()}  # fmt: skip
    assert changes == {"training.epochs": (2, 3, 2, 6), "optimizer.lr": (0.05, 0.02, 2, 6)}
    assert [row["lr"] for row in rows_of(finished)] == [0.05, 0.05, 0.02]
    assert summary_of(finished)["epochs"] == 3


def test_a_config_edited_by_hand_is_a_change_like_any_other(
    finished: Path, cnnrun: Command
) -> None:
    _edit(finished, "training", "epochs", 3)
    ended = cnnrun("train", "--resume", finished, "-q")
    assert ended.code == 0, ended.err
    assert "changed  training.epochs: 2 -> 3" in ended.err
    assert len(rows_of(finished)) == 3


def test_who_asks_whether_a_run_trains_never_stops_it(finished: Path) -> None:
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            is_training(finished)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(300):
            with alone_in(RunDirectory(finished)):
                pass
    finally:
        over.set()
        for asker in askers:
            asker.join()
    with alone_in(RunDirectory(finished)):
        assert is_training(finished)
        with pytest.raises(TakenError), alone_in(RunDirectory(finished)):
            pass


def test_of_two_jobs_that_are_started_at_once_one_trains(
    tiny: Path, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first one builds, before it has trained anything, the second one comes."""
    from cnnrun.runner import starting

    build = starting.build
    told: list[str] = []

    def second(*arguments: Any) -> Any:
        monkeypatch.setattr(starting, "build", build)
        try:
            runner.resume_or_start(load(tiny, ["training.draw=false"]), quiet=True)
        except UserError as error:
            told.append(str(error))
        return build(*arguments)

    monkeypatch.setattr(starting, "build", second)
    ended = cnnrun("train", tiny, "--resume-or-start", "-q", "training.draw=false")
    assert ended.code == 0, ended.err
    run = Path(ended.out.strip())
    assert told == [f"another process is training {run}"]
    assert len(list(run.parent.iterdir())) == 1


def test_a_job_that_can_not_start_leaves_no_run(tiny: Path, cnnrun: Command) -> None:
    ended = cnnrun("train", tiny, "--resume-or-start", "-q", "model.dropout=0.1",
                   "dataset={name: folder, root: nowhere}")  # fmt: skip
    assert ended.code != 0
    assert "nowhere" in ended.err
    assert not list(Path("runs").glob("*/*"))


# The best epoch ----------------------------------------------------------------------------------


def test_best_is_never_compared_across_metrics(stopped: Path, cnnrun: Command) -> None:
    ended = cnnrun("train", "--resume", stopped, "training.monitor=loss", "training.epochs=5", "-q")
    assert ended.code == 0, ended.err
    rows, summary = rows_of(stopped), summary_of(stopped)
    known = [row for row in rows if row["epoch"] >= 2]  # of those before, the best one was kept
    losses = {row["epoch"]: row["validation_loss"] for row in known}
    assert summary["best_epoch"] == min(losses, key=lambda epoch: losses[epoch])
    assert summary["best"] == rows[summary["best_epoch"] - 1]


def test_the_last_epoch_is_kept_where_it_is_the_best_by_the_new_metric(
    finished: Path, cnnrun: Command
) -> None:
    """`best.pt` had another epoch's weights; those of the last are still there."""
    run = RunDirectory(finished)
    last = Checkpoint.load(run.checkpoint("last"))
    rows = rows_of(finished)
    rows[0] |= {"validation_accuracy": 0.99, "validation_loss": 5.0}
    rows[1] |= {"validation_accuracy": 0.5, "validation_loss": 1e-9}
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("last", "best"):
        held = torch.load(run.checkpoint(name), weights_only=True)
        held["progress"] |= {"best": [0.99, -5.0], "best_epoch": 1}
        if name == "best":
            held["progress"] |= {"epoch": 1, "step": 3}
        torch.save(held, run.checkpoint(name))
    ended = cnnrun(
        "train", "--resume", finished, "training.monitor=loss", "training.epochs=3", "-q"
    )
    assert ended.code == 0, ended.err
    assert summary_of(finished)["best_epoch"] == 2
    best = Checkpoint.load(run.checkpoint("best"))
    assert all(torch.equal(best.model[key], value) for key, value in last.model.items())


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_a_new_loss_is_not_compared_with_the_old_one(
    stopped: Path, cnnrun: Command, monitor: str
) -> None:
    _edit(stopped, "training", "monitor", monitor)
    for name in ("last", "best"):
        held = torch.load(stopped / "checkpoints" / f"{name}.pt", weights_only=True)
        held["config"]["training"]["monitor"] = monitor
        # Better than any focal loss can be.
        held["progress"]["best"] = [held["progress"]["best"][0], 0.0]
        if monitor == "loss":
            held["progress"]["best"] = [0.0]
        torch.save(held, stopped / "checkpoints" / f"{name}.pt")
    changes = ("loss={name: focal, gamma: 0.0, weight: none}", "optimizer.lr=1e-9")
    ended = cnnrun("train", "--resume", stopped, *changes, "-q")
    assert ended.code == 0, ended.err
    assert summary_of(stopped)["best_epoch"] == 3


def test_a_best_checkpoint_of_a_course_that_was_given_up_is_not_scored(
    finished: Path, cnnrun: Command
) -> None:
    """Killed between `best.pt` and `last.pt` of an epoch that was then trained otherwise."""
    run = RunDirectory(finished)
    held = torch.load(run.checkpoint("best"), weights_only=True)
    held["progress"] |= {"epoch": 2, "best_epoch": 2, "best": [1.0, -0.0]}
    held["model"] = {key: torch.zeros_like(value) for key, value in held["model"].items()}
    torch.save(held, run.checkpoint("best"))
    run.summary.unlink()
    ended = cnnrun("train", "--resume", finished, "-q")
    assert ended.code == 0, ended.err
    assert "best.pt is not what this run knows as its best epoch" in ended.err
    summary = summary_of(finished)
    assert summary["best_epoch"] == 2
    best = Checkpoint.load(run.checkpoint("best"))
    assert any(value.any() for value in best.model.values())


def test_a_run_killed_between_its_two_checkpoints_goes_on_from_the_newer(
    trained: Path, tmp_path: Path, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnrun.engine.trainer import Trainer

    run = Path(shutil.copytree(trained, tmp_path / "killed"))
    as_stopped(run, 4)
    save = Trainer.save

    def save_best_and_die(self: Trainer, name: str) -> None:
        save(self, name)
        if name == "best":
            raise KeyboardInterrupt

    old = (run / "checkpoints/last.pt").read_bytes()
    with monkeypatch.context() as killing:
        killing.setattr(Trainer, "save", save_best_and_die)
        killing.setattr("cnnrun.engine.progress.is_better", lambda *_: True)
        killing.setattr(Trainer, "stop_or_save", lambda _: None)
        assert cnnrun("train", "--resume", run, "-q").code == 130
    assert (run / "checkpoints/last.pt").read_bytes() == old
    third = rows_of(run)[2]
    ended = cnnrun("train", "--resume", run, "optimizer.lr=1e-9", "-q")
    assert ended.code == 0, ended.err
    rows = rows_of(run)
    assert rows[2] == third, "the epoch that was trained is not trained again"
    assert [row["lr"] for row in rows] == [0.05, 0.05, 0.05, 1e-9]


def test_weights_or_statistics_that_are_infinite_are_never_the_best(
    stopped: Path, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnrun.engine.trainer import Trainer

    validate = Trainer.validate

    def spoilt(self: Trainer) -> Any:
        scores = {**validate(self), "accuracy": 1.0}
        statistics = next(b for n, b in self.full.model.named_buffers() if "running_var" in n)
        statistics.fill_(math.inf)
        return scores

    monkeypatch.setattr(Trainer, "validate", spoilt)
    ended = cnnrun("train", "--resume", stopped, "-q")
    assert ended.code == 0, ended.err
    assert "epoch 3 can't be the best: " in ended.err
    assert "running_var holds infinite values" in ended.err
    assert summary_of(stopped)["best_epoch"] < 3


# What is restored --------------------------------------------------------------------------------


def test_accumulate_that_is_asked_for_is_used(
    stopped: Path, cnnrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnrun.engine.stepper import Stepper

    used: list[int] = []
    step = Stepper.step

    def noted(self: Stepper, *arguments: Any) -> None:
        used.append(self.accumulate)
        step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", noted)
    assert cnnrun("train", "--resume", stopped, "training.accumulate=4", "-q").code == 0
    assert set(used) == {4}
    assert Checkpoint.load(stopped / "checkpoints/last.pt").progress["accumulate"] == 4


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("constant", "plateau"), ("plateau", "constant"), ("cosine", "plateau"),
        ("plateau", "one_cycle"), ("{name: plateau, warmup_epochs: 1}", "plateau"),
    ],
)  # fmt: skip
def test_one_schedule_after_another(tiny: Path, cnnrun: Command, before: str, now: str) -> None:
    run = Path(cnnrun("train", tiny, "-q", *SMALL, f"schedule={before}").out.strip())
    ended = cnnrun("train", "--resume", run, f"schedule={now}", "training.epochs=4", "-q")
    assert ended.code == 0, ended.err
    assert len(rows_of(run)) == 4
    back = cnnrun("train", "--resume", run, f"schedule={before}", "training.epochs=5", "-q")
    assert back.code == 0, back.err


@pytest.mark.parametrize(
    ("name", "change", "fits"),
    [
        ("rmsprop", "optimizer.momentum=0.9", False), ("rmsprop", "optimizer.centered=true", False),
        ("rmsprop", "optimizer.alpha=0.9", True), ("sgd", "optimizer.momentum=0", True),
        ("{name: sgd}", "optimizer.momentum=0.9", True), ("adam", "optimizer.beta1=0.8", True),
        ("adagrad", "optimizer.eps=1e-8", True), ("lbfgs", "optimizer.max_iter=3", True),
    ],
)  # fmt: skip
def test_an_optimizers_state_fits_its_new_settings_or_is_refused(
    tiny: Path, cnnrun: Command, name: str, change: str, fits: bool
) -> None:
    run = Path(cnnrun("train", tiny, "-q", *SMALL, f"optimizer={name}",
                      "training.epochs=1").out.strip())  # fmt: skip
    before = contents(run)
    ended = cnnrun("train", "--resume", run, change, "training.epochs=2", "-q")
    if fits:
        assert ended.code == 0, ended.err
        assert len(rows_of(run)) == 2
    else:
        assert ended.code == 2
        key = change.partition("=")[0]
        told = f"{key}: a run can't be resumed with another {key.partition('.')[2]} ("
        assert told in ended.err
        assert contents(run) == before


def test_the_run_that_weights_came_from_is_not_needed_any_more(tiny: Path, cnnrun: Command) -> None:
    source = Path(cnnrun("train", tiny, "-q", *SMALL).out.strip())
    changes = (f"transfer={{weights: {source}, freeze: features, head: []}}", "name=taken")
    run = Path(cnnrun("train", tiny, "-q", *SMALL, *changes).out.strip())
    straight = cnnrun("train", tiny, "-q", *SMALL, *changes, "training.epochs=4").out.strip()
    shutil.rmtree(source)
    ended = cnnrun("train", "--resume", run, "training.epochs=4", "-q")
    assert ended.code == 0, ended.err
    assert rows_of(run) == rows_of(Path(straight))


# The log -----------------------------------------------------------------------------------------


def test_a_torn_line_costs_that_line_alone(stopped: Path, cnnrun: Command) -> None:
    log = stopped / "metrics.jsonl"
    first, second = log.read_text().splitlines(keepends=True)
    log.write_text(first[:20] + "\n" + second)
    ended = cnnrun("train", "--resume", stopped, "-q")
    assert ended.code == 0, ended.err
    assert "metrics.jsonl lacks epochs of this run: 1" in ended.err
    assert [row["epoch"] for row in rows_of(stopped)] == [2, 3]
    summary = summary_of(stopped)
    assert summary["best"]["epoch"] == summary["best_epoch"], "by epoch, not by position"


def test_the_row_of_the_best_epoch_is_scored_anew_where_the_log_lacks_it(
    finished: Path, cnnrun: Command
) -> None:
    expected = summary_of(finished)["best"]
    best = expected["epoch"]
    kept = [line for line in (finished / "metrics.jsonl").read_text().splitlines()
            if json.loads(line)["epoch"] != best]  # fmt: skip
    (finished / "metrics.jsonl").write_text("".join(line + "\n" for line in kept))
    (finished / "summary.json").unlink()
    ended = cnnrun("train", "--resume", finished, "-q")
    assert ended.code == 0, ended.err
    found = summary_of(finished)["best"]
    assert found["epoch"] == best
    for key in ("validation_loss", "validation_accuracy"):
        assert found[key] == pytest.approx(expected[key])


ODD = [
    "[]",
    "3",
    '{"epoch": "x"}',
    '{"epoch": 1e400}',
    '{"epoch": true}',
    '{"epoch": 2, "validation_loss": {}}',
    '{"epoch": 2, "validation_accuracy": "0.5"}',
    "{",
    "\x00",
    "[" * 99_999,
]


@pytest.mark.parametrize("line", ODD)
@pytest.mark.parametrize("file", ["metrics.jsonl", "changes.jsonl"])
def test_an_odd_line_is_left_out(stopped: Path, cnnrun: Command, file: str, line: str) -> None:
    path = stopped / file
    path.write_text(line + "\n" + (path.read_text() if path.is_file() else ""))
    ended = cnnrun("train", "--resume", stopped, "optimizer.lr=0.01", "-q")
    assert ended.code == 0, ended.err
    assert [row["epoch"] for row in rows_of(stopped)] == [1, 2, 3]


@pytest.mark.parametrize("content", [b"[]", b"3", b"\xff\xfe", b"{", b'{"a": 1}', b"[" * 99_999])
def test_an_odd_summary_is_named(finished: Path, cnnrun: Command, content: bytes) -> None:
    (finished / "summary.json").write_bytes(content)
    ended = cnnrun("train", "--resume", finished)
    assert "bug" not in ended.err
    assert ended.code == (0 if content == b'{"a": 1}' else 1)
    assert ended.code == 0 or "summary.json: is damaged; remove it" in ended.err


def _pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def _huge(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(TEXT_BYTES + 1)


def _folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


@pytest.mark.parametrize(("name", "odd", "told"), [
    (name, odd, told)
    for name in ("metrics.jsonl", "summary.json", "changes.jsonl")
    for odd, told in ((_pipe, "not a regular file"), (_huge, "the most is"), (_folder, "a folder"))
])  # fmt: skip
def test_a_file_of_a_run_that_is_no_text_is_named(
    finished: Path, name: str, odd: Callable[[Path], None], told: str
) -> None:
    """In one sentence, and at once: a pipe without a writer would be waited for."""
    run = RunDirectory(finished)
    odd(finished / name)
    read = {"metrics.jsonl": run.read_metrics, "summary.json": run.read_summary,
            "changes.jsonl": run.read_changes}[name]  # fmt: skip
    with pytest.raises(UserError, match=f"{name}: .*{told}"):
        read()


@pytest.mark.parametrize("number", ["1" * 4000, "1e400", "-1e999"])
def test_a_number_beyond_all_range_is_no_number(finished: Path, number: str) -> None:
    run = RunDirectory(finished)
    rows = run.read_metrics()
    with run.metrics.open("a") as stream:
        stream.write(f'{{"epoch": {number}}}\n{{"epoch": 3, "train_loss": {number}}}\n')
    assert run.read_metrics() == rows
    run.summary.write_text(f'{{"epochs": {number}}}')
    with pytest.raises(UserError, match=r"summary\.json: is damaged"):
        run.read_summary()


@pytest.mark.parametrize("case", ["small_similar", "large_similar"])
def test_a_case_of_transfer_goes_on_and_can_not_be_changed(
    tiny: Path, cnnrun: Command, case: str
) -> None:
    source = Path(cnnrun("train", tiny, "-q", *SMALL).out.strip())
    changes = (f"transfer={{weights: {source}, case: {case}}}", "name=taken")
    run = Path(cnnrun("train", tiny, "-q", *SMALL, *changes).out.strip())
    ended = cnnrun("train", "--resume", run, "transfer.case=large_different", "-q")
    assert (ended.code, f"transfer.case: {case} -> large_different" in ended.err) == (2, True)
    ended = cnnrun("train", "--resume", run, "training.epochs=3", "-q")
    assert ended.code == 0, ended.err
    assert len(rows_of(run)) == 3
