"""Runs as they train, shown to the one browser that knows the address."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnrun import train
from cnnrun.report import watching
from cnnrun.report.serving import HOST, Server
from cnnrun.report.watching import Watch
from cnnrun.runs.directory import RunDirectory
from tests.browser import Page, browser
from tests.conftest import Command
from tests.report.serving import ask, served
from tests.small_run import CONFIG
from tests.small_run import small_run as small_run


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_PAUSE", 0)


def until(found: Callable[[], Any], wanted: Any) -> None:
    """Wait for what the page shows in its own time."""
    last = None
    for _ in range(600):
        last = found()
        if last == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{last!r}, not {wanted!r}")


@pytest.mark.slow
def test_rows_appear_while_a_run_trains(
    opened: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG)
    runs = tmp_path / "runs"
    runs.mkdir()
    opened.complaints()
    opened.requests()
    append, seen = RunDirectory.append_metrics, []
    states, epochs = ".runs td.state", ".runs tbody td:nth-child(5)"

    def append_and_see(self: RunDirectory, row: dict[str, Any]) -> None:
        """The next epoch begins when the page shows this one."""
        append(self, row)
        until(lambda: opened.texts(epochs), [f"{row['epoch']} of 3"])
        assert opened.texts(states) == ["running"]
        seen.append(opened.run("return document.querySelector('.plot').ariaLabel"))

    monkeypatch.setattr(RunDirectory, "append_metrics", append_and_see)
    with served([runs]) as server:
        opened.driver.get(server.address)
        assert opened.texts("h1") == ["runs"]
        until(lambda: "No run is training" in opened.texts(".status")[0], True)
        opened.run("window.loaded = 'once'")
        train(tmp_path / "small.yaml", f"output={runs}", "training.epochs=3")
        until(lambda: opened.texts(states), ["finished"])
        assert len(set(seen)) == 3, "each epoch moved the curves' ends"
        assert opened.run("return window.loaded") == "once"
        headings = opened.texts(".runs th button")
        assert "validation accuracy" in headings
        assert {"test accuracy", "time", "memory"} <= set(headings)
        assert opened.complaints() == []
        hosts = {address.split("/")[2] for address in opened.requests()}
        assert hosts == {f"{HOST}:{server.server_address[1]}"}
    until(lambda: "Not live since" in opened.texts(".status")[0], True)
    assert opened.texts(states) == ["finished"], "what was sent stays"


@pytest.fixture
def two(small_run: Path, tmp_path: Path) -> Path:
    """Two runs with learning rates of their own."""
    for lr in ("0.01", "0.5"):
        run = tmp_path / "two" / f"lr{lr}"
        shutil.copytree(small_run, run)
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("lr: 0.01", f"lr: {lr}"))
    return tmp_path / "two"


def test_two_runs_are_compared(opened: Page, two: Path) -> None:
    with served([two]) as server:
        opened.driver.get(server.address)
        until(lambda: opened.texts(".legend")[:1], ["lr=0.01lr=0.5"])
        assert opened.texts(".configs tbody th") == ["optimizer.lr"]
        assert opened.texts(".configs tbody td") == ["0.01", "0.5"]
        opened.run("document.querySelector('.runs tbody input').click()")
        until(lambda: opened.texts(".legend")[:1], ["small"])
        assert "Select two or more runs" in opened.texts(".configs")[0]


def test_only_who_knows_the_address_is_answered(two: Path) -> None:
    with served([two]) as server:
        assert server.server_address[0] == HOST
        page = ask(server)
        assert page.status == 200
        assert "script-src 'nonce-" in page.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in page.headers
        assert len(ask(server, "runs.json").json()["runs"]) == 2
        for path in ("/", "/runs.json", f"/{server.token[:-1]}/", "/é/"):
            assert ask(server, path).status == 404
        for host in ("attacker.example", "127.0.0.1.attacker.example", ""):
            assert ask(server, host=host).status == 403
        assert ask(server, host="localhost").status == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(server, "runs.json", method).status == 501


@pytest.mark.parametrize(
    "path",
    [
        *("../../config.yaml", "config.yaml", "image", "image?run=/etc&epoch=1"),
        *("image?run=/etc/passwd", "image?run={run}/..&epoch=1", "image?run={run}&epoch=2"),
        "image?run={run}&epoch=3",
    ],
)
def test_no_file_is_sent_but_images_of_epochs(two: Path, path: str) -> None:
    run = two / "lr0.5"
    folder = run / "plots" / "progress"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "epoch_0001.png")
    (folder / "epoch_0002.png").symlink_to(run / "config.yaml")
    (folder / "epoch_0003.png").write_bytes(b"\x89PNG damaged")
    with served([two]) as server:
        news = ask(server, "runs.json").json()
        [[_, address], *_] = next(one["images"] for one in news["runs"] if one["images"])
        image = ask(server, address)
        assert image.headers["Content-Type"] == "image/jpeg"
        assert ask(server, path.format(run=run)).status == 404


def test_news_are_what_changed(two: Path) -> None:
    watch = Watch([two])
    first = watch.news()
    assert len(first["runs"]) == 2
    assert watch.news(first["version"])["runs"] == []
    run = RunDirectory(two / "lr0.5")
    rows = run.read_metrics()
    run.append_metrics({**rows[-1], "epoch": 3})
    second = watch.news(first["version"])
    assert [one["id"] for one in second["runs"]] == [str(run.path)]
    assert second["runs"][0]["log"]["epoch"] == [1, 2, 3]
    run.keep_metrics(1)  # as a resumed run does
    third = watch.news(second["version"])
    assert third["runs"][0]["log"]["epoch"] == [1]
    shutil.rmtree(run.path)
    last = watch.news(third["version"])
    assert last["gone"] == [str(run.path)]
    # What told the two apart tells nothing any more: the other one comes again.
    assert [one["settings"] for one in last["runs"]] == [{}]
    shutil.rmtree(two)
    assert len(watch.news(last["version"])["gone"]) == 1


def test_many_logs_are_sent_in_fewer_epochs(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in map(RunDirectory, two.iterdir()):
        row = run.read_metrics()[-1]
        for epoch in range(3, 11):
            run.append_metrics({**row, "epoch": epoch})
    watch = Watch([two])
    whole = [one["log"]["epoch"] for one in watch.news()["runs"]]
    assert whole == [list(range(1, 11))] * 2
    columns = sum(len(one["log"]) + 1 for one in watch.news()["runs"])  # and the step
    shutil.copytree(two / "lr0.5", two / "third")
    monkeypatch.setattr(watching, "_NUMBERS", 6 * columns)
    assert [one["log"]["epoch"] for one in watch.news()["runs"]] == [[1, 4, 7, 10]] * 3


def test_a_folder_without_runs_waits_for_them(tmp_path: Path, small_run: Path) -> None:
    watch = Watch([tmp_path])
    assert watch.news()["runs"] == []
    shutil.copytree(small_run, tmp_path / "small" / "one")
    assert [one["name"] for one in watch.news()["runs"]] == ["small"]


def test_a_damaged_run_is_named_among_the_others(two: Path) -> None:
    (two / "lr0.5" / "summary.json").write_text("[")
    news = Watch([two]).news()
    assert json.loads(json.dumps(news))  # plain values
    assert sorted(one["state"] for one in news["runs"]) == ["damaged", "finished"]


def test_the_command_prints_the_address_until_ctrl_c(
    cnnrun: Command, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_server: Server) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    before = sorted(two.rglob("*"))
    ended = cnnrun("report", two, "--serve")
    assert ended.code == 0
    assert ended.out.startswith(f"http://{HOST}:")
    assert "Ctrl-C ends it" in ended.err
    assert sorted(two.rglob("*")) == before


@pytest.mark.slow
def test_what_can_not_be_served(cnnrun: Command, two: Path) -> None:
    assert "there is no such run or folder" in cnnrun("report", two / "none", "--serve").err
    both = cnnrun("report", two, "--serve", "-o", "page.html")
    assert both.code == 2
    assert "choose one of --serve, which writes no file, and --output" in both.err
    with Server([two]) as server:
        taken = cnnrun("report", two, "--serve", "--port", server.server_address[1])
    assert taken.code == 1
    assert "can't listen there" in taken.err
    assert "can't listen there" in cnnrun("report", two, "--serve", "--port", 99999).err
    assert "--port goes with --serve" in cnnrun("report", two, "--port", 8000).err
