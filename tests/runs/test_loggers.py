"""Loggers, read back by the clients of the tools that they write for."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnrun.engine.trainer import Trainer
from cnnrun.registry import loggers
from cnnrun.runs.checkpoint import Checkpoint
from cnnrun.runs.directory import RunDirectory
from cnnrun.runs.loggers.forwarding import Reports
from cnnrun.runs.loggers.logger import Logger, numbers
from tests.conftest import Command, slow_ones

QUIET = ("training.draw=false", "-q")


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def trained(cnnrun: Command, tiny: Path, *changes: str) -> Path:
    ended = cnnrun("train", tiny, *changes, "-q")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    return Path(ended.out.strip())


def cut_and_resumed(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, *changes: str
) -> Path:
    """A run of four epochs that is stopped in its third one and goes on."""
    step = Trainer.train_step

    def step_and_stop(self: Trainer, *batch: Any) -> None:
        step(self, *batch)
        if self.progress.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as stopping:
        stopping.setattr(Trainer, "train_step", step_and_stop)
        assert cnnrun("train", tiny, *changes, "training.epochs=4", *QUIET).code == 130
    [run] = Path("runs").glob("*/*")
    ended = cnnrun("train", "--resume", run, "-q")
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert len(rows(run)) == 4
    return run


class TestCsv:
    def test_a_row_an_epoch(self, cnnrun: Command, tiny: Path) -> None:
        run = trained(cnnrun, tiny, "loggers=[csv]", "training.draw=false")
        with (run / "metrics.csv").open() as file:
            found = list(csv.DictReader(file))
        assert [{k: float(v) for k, v in row.items()} for row in found] == rows(run)

    def test_columns_may_come_late(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path)
        logger = loggers.get("csv").factory()
        logger.start(tmp_path, {}, {})
        for row in ({"epoch": 1, "a": 1.0}, {"epoch": 2, "a": 2.0, "skipped": 3}):
            run.append_metrics(row)
            logger.epoch(row)
        text = (tmp_path / "metrics.csv").read_text()
        assert text == "epoch,a,skipped\n1,1.0,\n2,2.0,3\n"


class TestTensorBoard:
    def read(self, run: Path) -> Any:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
        events.Reload()
        return events

    @pytest.mark.slow
    def test_scalars_plots_and_hparams(self, cnnrun: Command, tiny: Path) -> None:
        run = trained(cnnrun, tiny, "loggers=[tensorboard]", "training.draw=true")
        events = self.read(run)
        for measure in ("loss", "accuracy"):
            for split in ("train", "validation"):
                found = events.Scalars(f"{measure}/{split}")
                assert [event.step for event in found] == [1, 2]
                expected = [row[f"{split}_{measure}"] for row in rows(run)]
                assert [event.value for event in found] == pytest.approx(expected, rel=1e-6)
        assert set(events.Tags()["images"]) == {"samples", "curves", "confusion", "mistakes"}
        plot = events.Images("curves")[0]
        assert plot.encoded_image_string[1:4] == b"PNG"
        summary = json.loads((run / "summary.json").read_text())
        [accuracy] = events.Scalars("test/accuracy")
        assert accuracy.value == pytest.approx(summary["test"]["accuracy"], rel=1e-6)
        plugins = events.PluginTagToContent("hparams")
        start = plugins["_hparams_/session_start_info"]
        assert b"model.name" in start
        assert b"optimizer.lr" in start

    def test_a_run_that_goes_on_is_one_curve(
        self, cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = cut_and_resumed(cnnrun, tiny, monkeypatch, "loggers=[tensorboard]")
        steps = [event.step for event in self.read(run).Scalars("loss/train")]
        assert steps == [1, 2, 3, 4]


class TestMLflow:
    @pytest.mark.slow
    def test_a_run_that_was_stopped_is_one_run(
        self, cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        from mlflow import MlflowClient

        uri = f"sqlite:///{tmp_path / 'store.db'}"
        chosen = f"loggers=[{{name: mlflow, uri: '{uri}', experiment: mine}}]"
        monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
        import logging

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        run = cut_and_resumed(cnnrun, tiny, monkeypatch, chosen)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("mine")
        assert experiment is not None
        [found] = client.search_runs([experiment.experiment_id])
        assert found.info.run_name == run.name
        assert found.info.status == "FINISHED"
        assert found.data.params["model.name"] == "mlp"
        assert found.data.params["optimizer.lr"] == "0.1"
        summary = json.loads((run / "summary.json").read_text())
        assert found.data.metrics["test_accuracy"] == pytest.approx(summary["test"]["accuracy"])
        history = client.get_metric_history(found.info.run_id, "train_loss")
        assert sorted(metric.step for metric in history) == [1, 2, 3, 4]
        by_step = {metric.step: metric.value for metric in history}
        assert [by_step[row["epoch"]] for row in rows(run)] == [r["train_loss"] for r in rows(run)]
        assert "config.yaml" in {file.path for file in client.list_artifacts(found.info.run_id)}

    @pytest.mark.slow
    def test_what_is_changed_on_the_way_is_a_tag(
        self, cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Parameters of MLflow never change; `tags."training.epochs" = "4"` finds the run."""
        from mlflow import MlflowClient

        monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")
        uri = f"sqlite:///{tmp_path / 'store.db'}"
        chosen = f"loggers=[{{name: mlflow, uri: '{uri}', experiment: mine}}]"
        run = Path(cnnrun("train", tiny, chosen, *QUIET).out.strip())
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name("mine")
        assert experiment is not None

        def tags_after(*changes: str) -> dict[str, str]:
            ended = cnnrun("train", "--resume", run, *changes, "-q")
            assert (ended.code, "failed" in ended.err) == (0, False), ended.err
            [found] = client.search_runs([experiment.experiment_id])
            assert found.data.params["training.epochs"] == "2"
            assert found.data.params["optimizer.lr"] == "0.1"
            return {key: value for key, value in found.data.tags.items() if "mlflow" not in key}

        assert tags_after("training.epochs=3", "optimizer.lr=0.05") == {
            "training.epochs": "3", "optimizer.lr": "0.05",
        }  # fmt: skip
        back = tags_after("training.epochs=4", "optimizer.lr=0.1")
        assert back == {"training.epochs": "4", "optimizer.lr": "0.1"}
        [found] = client.search_runs([experiment.experiment_id], "tags.`training.epochs` = '4'")
        files = {file.path for file in client.list_artifacts(found.info.run_id)}
        assert {"config.yaml", "changes.jsonl"} <= files


def wandb_records(file: Path) -> Iterator[Any]:
    """What W&B has written to send later: its protobuf records in LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no header is begun at the end of a block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole = (b"" if kind in (1, 2) else whole) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the record's only or last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


class TestWandB:
    @staticmethod
    def sent(file: Path) -> tuple[Any, list[dict[str, Any]]]:
        """What would be sent of one offline run: what is said of it, and its history."""
        records = list(wandb_records(file))
        about = next(r.run for r in records if r.WhichOneof("record_type") == "run")
        history = [
            {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            for record in records
            if record.WhichOneof("record_type") == "history"
        ]
        return about, history

    @pytest.mark.slow
    def test_a_run_offline(self, cnnrun: Command, tiny: Path) -> None:
        run = trained(cnnrun, tiny, "loggers=[{name: wandb, project: mine}]", "training.draw=false")
        # W&B writes from a process of its own, for which the end of the program waits.
        importlib.import_module("wandb").teardown()
        [file] = run.glob("wandb/offline-run-*/run-*.wandb")
        about, history = self.sent(file)
        assert [row["train_loss"] for row in history] == [row["train_loss"] for row in rows(run)]
        assert [row["epoch"] for row in history] == [1, 2]
        assert about.project == "mine"
        assert about.display_name == run.name
        known = json.loads((run / "loggers.json").read_text())
        assert known["wandb"] == {"run": about.run_id, "epochs": 2}

    @pytest.mark.slow
    def test_a_run_that_goes_on_with_changes(self, cnnrun: Command, tiny: Path) -> None:
        """The newest folder replaces the older one when both are sent, so it has all of the run."""
        run = trained(cnnrun, tiny, "loggers=[wandb]", "training.draw=false")
        ended = cnnrun("train", "--resume", run, "training.epochs=3", "optimizer.lr=0.01", "-q")
        assert ended.code == 0, ended.err
        importlib.import_module("wandb").teardown()
        files = run.glob("wandb/offline-run-*/run-*.wandb")
        (before, _), (about, history) = map(
            self.sent, sorted(files, key=lambda file: file.stat().st_mtime_ns)
        )
        assert about.run_id == before.run_id
        assert [row["train_loss"] for row in history] == [row["train_loss"] for row in rows(run)]
        assert [row["epoch"] for row in history] == [1, 2, 3]
        config = {item.key: json.loads(item.value_json) for item in about.config.update}
        assert (config["training"]["epochs"], config["optimizer"]["lr"]) == (3, 0.01)


FAILING = """\
from cnnrun.runs.loggers.logger import Logger
from cnnrun.registry import loggers

@loggers.register("failing")
class Failing(Logger):
    \"\"\"Fails when it is told.\"\"\"

    def __init__(self, *, at: str) -> None:
        self.at = at

    def start(self, run, config, known):
        self.fail("begin")
        return {}

    def epoch(self, row):
        self.fail("epoch")

    def plot(self, name, file):
        self.fail("plot")

    def end(self, summary):
        self.fail("end")

    def fail(self, here):
        if here == self.at:
            raise RuntimeError(f"no server at {here}")
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "failing.py"
    file.write_text(FAILING)
    return file


@pytest.mark.parametrize("at", slow_ones(["begin", "epoch", "plot", "end"], "plot"))
def test_one_that_fails_changes_nothing_but_is_named_once(
    cnnrun: Command, tiny: Path, failing: Path, at: str
) -> None:
    plain = Path(cnnrun("train", tiny, "-q").out.strip())
    chosen = f"loggers=[{{name: failing, at: {at}}}, csv]"
    drawn = f"training.draw={str(at == 'plot').lower()}"
    ended = cnnrun("train", tiny, chosen, drawn, "--plugin", failing, "-q")
    assert ended.code == 0
    assert re.fullmatch(
        r"the logger 'failing' failed and is left out: "
        rf".*failing\.py:\d+: in fail: RuntimeError: no server at {at}\n",
        ended.err,
    )
    run = Path(ended.out.strip())
    assert (run / "metrics.jsonl").read_bytes() == (plain / "metrics.jsonl").read_bytes()
    ours, theirs = (Checkpoint.load(r / "checkpoints/last.pt").model for r in (run, plain))
    assert all((value == theirs[key]).all() for key, value in ours.items())
    assert len((run / "metrics.csv").read_text().splitlines()) == 3


def test_a_missing_package_is_told_before_anything_is_trained(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    ended = cnnrun("train", tiny, "loggers=[csv, mlflow]")
    assert ended.code == 2
    assert "loggers.1: mlflow: pip install 'cnnrun[mlflow]'" in ended.err
    assert not Path("runs").exists()


def test_a_misspelt_logger_is_told_with_the_nearest_name(cnnrun: Command, tiny: Path) -> None:
    ended = cnnrun("train", tiny, "loggers=[tensorbord]")
    assert ended.code == 2
    assert "did you mean 'tensorboard'?" in ended.err


class Notes(Logger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, run: Path, config: Any, known: Any) -> dict[str, Any]:  # noqa: ARG002
        self.told.append(("begin", known))
        return {"run": "7"}

    def epoch(self, row: Any) -> None:
        self.told.append(row["epoch"])

    def end(self, summary: dict[str, Any]) -> None:
        self.told.append(("end", summary))


def test_no_epoch_is_told_twice_or_missed(tmp_path: Path, tiny: Path) -> None:
    """Killed after the log had an epoch and before the logger was told; then with epochs lost."""
    from cnnrun.config.experiment import load

    run, experiment = RunDirectory(tmp_path / "run"), load(tiny)
    run.path.mkdir()
    first = Notes()
    reports = Reports({"notes": first}, run)
    reports.start(experiment)
    for epoch in (1, 2):
        run.append_metrics({"epoch": epoch})
        reports.epoch({"epoch": epoch})
    run.append_metrics({"epoch": 3})
    again = Notes()
    reports = Reports({"notes": again}, run)
    reports.start(experiment)
    reports.end({"test": {}})
    assert first.told == [("begin", {}), 1, 2]
    assert again.told == [("begin", {"run": "7", "epochs": 2}), 3, ("end", {"test": {}})]
    run.keep_metrics(1)  # trained again from the second on
    last = Notes()
    reports = Reports({"notes": last}, run)
    reports.start(experiment)
    reports.epoch({"epoch": 2})
    assert last.told == [("begin", {"run": "7", "epochs": 1}), 2]


def test_numbers_of_a_row() -> None:
    row = {"epoch": 3, "step": 90, "lr": 0.1, "train_loss": None, "is_best": True, "note": "x"}
    assert numbers(row) == {"step": 90.0, "lr": 0.1}
