"""A hub that can't be reached costs one attempt, not minutes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.huggingface import huggingface
from cnnrun.errors import NetworkError
from cnnrun.models.zoo import timm_model
from cnnrun.runtime.hub import asked_once
from tests.conftest import stand_in


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything with an error; its address, and what it was asked."""
    asked: list[str] = []

    class Broken(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}", asked
        made.shutdown()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, nothing in its cache, and no waiting between attempts."""

    def wait(seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s for a hub that is not there")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("huggingface_hub.utils._http.time", stand_in(time, sleep=wait))


def test_one_that_answers_is_asked_as_ever(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", server[0])
    with asked_once() as silent:
        assert (silent, constants.HF_HUB_OFFLINE) == ("", False)
    assert len(server[1]) == 1


@pytest.mark.usefixtures("unreachable")
def test_one_that_is_silent_is_asked_once() -> None:
    with asked_once() as silent:
        assert silent.startswith("http://127.0.0.1:9 can't be reached: ")
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_one_that_is_not_wanted_is_not_asked(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", server[0])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with asked_once() as silent:
        assert silent == ""
    assert (constants.HF_HUB_OFFLINE, server[1]) == (True, [])


@pytest.mark.usefixtures("unreachable")
def test_trained_networks_and_data_sets_say_so() -> None:
    with pytest.raises(NetworkError, match=r"timm/resnet10t: could not fetch .* can't be reached"):
        timm_model("resnet10t", (3, 32, 32), 10, weights="DEFAULT")
    with pytest.raises(NetworkError, match=r"some/set, split 'train': can't be loaded .* reached"):
        huggingface(ImageOptions(), path="some/set")
