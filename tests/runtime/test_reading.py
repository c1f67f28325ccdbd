"""Files of anybody are read within bounds, whichever command reads them."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from cnnrun.config.document import parse, plain
from cnnrun.config.experiment import load
from cnnrun.errors import UserError
from cnnrun.runtime.reading import (
    UnusableFileError,
    open_regular,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)
from tests.conftest import CONFIGS, EXPERIMENTS, Command

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def _no_file(folder: Path, kind: str) -> Path:
    file = folder / f"{kind.replace(' ', '_')}.png"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    else:
        with file.open("wb") as stream:
            stream.truncate(40 * 2**30)  # no byte of which is on disk
    return file


KINDS = ["pipe", "device", "folder", "forty gigabytes"]


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_of_bounded_size_are_opened(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnusableFileError):
        open_regular(_no_file(tmp_path, kind), 2**20)
    with pytest.raises(UserError, match=str(tmp_path)):
        read_text(tmp_path / f"{kind.replace(' ', '_')}.png")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * 2**20])
def test_a_file_takes_the_memory_of_its_content_and_not_of_its_bound(
    tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "x", 2**31) == content
        assert tracemalloc.get_traced_memory()[1] < size + 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("at_once", [1, 1000, 70_000, 2**20])
def test_a_system_that_gives_less_at_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    content = os.urandom(3_000)
    (tmp_path / "x").write_bytes(content)
    read = os.read
    monkeypatch.setattr(os, "read", lambda handle, count: read(handle, min(count, at_once)))
    assert read_bytes(tmp_path / "x", 2**31) == content


def test_what_is_added_meanwhile_is_read_as_far_as_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"12345678")
    look = os.fstat

    def look_and_add(handle: int) -> os.stat_result:
        found = look(handle)
        with (tmp_path / "x").open("ab") as file:
            file.write(b"9")
        return found

    monkeypatch.setattr(os, "fstat", look_and_add)
    assert read_bytes(tmp_path / "x", 100) == b"123456789"
    assert read_bytes(tmp_path / "x", 9) == b"123456789"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_such_an_image_is_a_bad_file(cnnrun: Command, tmp_path: Path, kind: str) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8), number).save(tmp_path / "images" / name / f"{number}.png")
    file = _no_file(tmp_path / "images" / "cats", kind)
    # A folder's own pipes and devices are no images to begin with; a table names them outright.
    rows = [f"images/{name}/{number}.png,{name}" for name in ("cats", "dogs") for number in "0123"]
    table = ["path,label", *rows, f"images/cats/{file.name},cats"]
    (tmp_path / "table.csv").write_text("\n".join(table))
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: csv, file: table.csv, cache_dir: cache}\nmodel: mlp\ndevice: cpu\n"
    )
    ended = cnnrun("check", "x.yaml")
    assert ended.code in (1, 2)
    assert file.name in ended.err
    assert "a bug" not in ended.err


@pytest.mark.parametrize(
    "text",
    ["9" * 4000, '{"epochs": 1e400}', "[" * 100_000, "-" + "9" * 30, '{"a": [1, 2', "1" * 5000],
)
def test_json_that_no_machine_computes_with(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(text)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"x\.json: not JSON"):
        read_json(tmp_path / "x.json")


def test_json_of_numbers_is_read_as_ever() -> None:
    values = {"a": [1, -2, 2**63, 1e-300, 0.1, -1.5e17], "b": None, "c": "é"}
    assert parse_json(json.dumps(values)) == values


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_a_runs_config_is_read_to_the_same_values_by_the_quick_parser(file: Path) -> None:
    text = load(CONFIGS / file).to_yaml()
    assert plain(text) == parse(text, "x.yaml").values


@pytest.mark.parametrize("command", ["runs", "compare", "report"])
@pytest.mark.parametrize("bomb", ["aliases", "depth", "size", "a pipe"])
def test_one_hostile_config_among_runs_costs_nothing(
    cnnrun: Command, tmp_path: Path, command: str, bomb: str
) -> None:
    texts = {"aliases": BOMB, "depth": "a: " + "[" * 900_000, "size": "a: 1\n" * 300_000}
    for name in ("good", "evil"):
        folder = tmp_path / "runs" / name / "20260101-000000-abcdef"
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "summary.json").write_text('{"epochs": 1, "test": {"accuracy": 0.5}}')
        config = folder / "config.yaml"
        if name == "evil" and bomb == "a pipe":
            os.mkfifo(config)
        else:
            config.write_text(texts[bomb] if name == "evil" else f"name: {name}\nseed: 0\n")
    started = time.process_time()
    ended = cnnrun(command, "runs")
    assert time.process_time() - started < 10
    assert "a bug" not in ended.err
    told = ended.out + ended.err
    if command == "report":
        told += (tmp_path / "runs" / "report.html").read_text()
    assert "damaged" in told
    assert "good" in told or "50.00 %" in told
