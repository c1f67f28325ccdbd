"""A password in a logger's address reaches neither the run's files nor its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.errors import UserError
from cnnrun.runs.loggers.mlflow import MLflow
from tests.conftest import Command

SECRETS = [
    "postgresql://me:secret@127.0.0.1:9/x",
    "http://me:secret@127.0.0.1:9",
    "postgresql://h/x?user=me&password=secret",
    "http://h/?token=secret",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_password_is_refused_before_anything_is_written(
    cnnrun: Command, tiny: Path, tmp_path: Path, uri: str
) -> None:
    ended = cnnrun("train", tiny, f"loggers=[{{name: mlflow, uri: '{uri}'}}]")
    assert ended.code == 2
    assert "keep it in a variable of the shell" in ended.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_variable_takes_its_place(
    cnnrun: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "sqlite:///${STORE}.db"
    with pytest.raises(UserError, match="the variable STORE is not set"):
        MLflow(uri=uri)
    monkeypatch.setenv("STORE", "s3cretplace")
    assert MLflow(uri="http://me:${STORE}@h").uri == "http://me:s3cretplace@h"
    changes = [f"loggers=[{{name: mlflow, uri: '{uri}'}}]", "training.draw=false"]
    run = Path(cnnrun("train", tiny, "-q", "training.epochs=1", *changes).out.strip())
    assert Path("s3cretplace.db").is_file()
    assert cnnrun("train", "--resume", run, "training.epochs=2", "-q").code == 0
    assert cnnrun("report", run).code == 0
    for file in run.rglob("*"):
        if file.is_file():
            assert b"s3cretplace" not in file.read_bytes(), file
