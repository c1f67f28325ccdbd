"""What the documentation shows of Python: the notebook, the web service, progress."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cnnrun import train
from tests.conftest import REPOSITORY
from tests.docs.pages import all_blocks
from tests.small_run import small_run, write_test_images

__all__ = ["small_run"]

NOTEBOOK = REPOSITORY / "examples" / "notebook.ipynb"


@pytest.mark.slow
def test_all_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert {"markdown", "code"} == {cell["cell_type"] for cell in cells}
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "keep outputs out of the repository"
            exec("".join(cell["source"]), names)
    assert set(names["scores"]) == {0.0, 0.5}


def test_training_from_python_shows_its_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a notebook, what goes to stderr stands below the cell."""
    experiment = {
        "dataset": {"name": "digits", "limit": 100},
        "model": {"name": "mlp", "hidden": [8]},
        "output": str(tmp_path),
        "training": {"epochs": 2, "draw": False},
    }
    train(experiment)
    shown = capsys.readouterr()
    assert shown.err.count("validation accuracy") == 2 or shown.err.count("2/2") == 1
    assert shown.out == ""
    train(experiment, quiet=True)
    assert capsys.readouterr().err == ""


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _post(port: int, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_the_web_service_answers(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [service] = [block for block in all_blocks("python") if block.title == "server.py"]
    port = _free_port()
    monkeypatch.setattr(sys, "argv", ["server.py", str(small_run), str(port)])
    names: dict[str, Any] = {"__name__": "server"}
    code = compile(service.text, "server.py", "exec")
    server = threading.Thread(target=exec, args=(code, names), daemon=True)
    server.start()
    write_test_images(tmp_path, 1)
    while server.is_alive():  # until it has opened its port
        try:
            status, answer = _post(port, (tmp_path / "000.png").read_bytes())
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    assert status == 200
    assert len(answer) == 3
    assert 0.5 < sum(answer.values()) <= 1
    status, answer = _post(port, b"no image")
    assert status == 400
    assert "error" in answer
