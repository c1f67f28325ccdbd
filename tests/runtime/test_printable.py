"""Names of others reach a terminal without commands in them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnrun.runtime.printable import printable, printable_text
from tests.conftest import Command
from tests.small_run import small_run as small_run

EVIL = "\x1b]0;pwned\x07\x1b[2J\rerror\n\x9b31m\u202egnp"
_LEFT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@given(st.text())
def test_names_stay_on_one_line_and_texts_keep_theirs(name: str) -> None:
    one, text = printable(name), printable_text(name)
    one.encode()
    assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in one)
    assert not _LEFT.search(text)
    assert text.count("\n") == name.count("\n")
    if not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cf", "Cs") for c in name):
        assert one == text == name


@pytest.mark.parametrize("name", ["猫 und Hund", "می‌خواهم", "👩‍👩‍👧", "naïve-é_1.png"])
def test_letters_of_all_scripts_stay(name: str) -> None:
    assert printable(name) == name


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / f"good{EVIL}.png")
    (folder / f"bad{EVIL}.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_names_of_images(cnnrun: Command, small_run: Path, images: Path, form: str) -> None:
    ended = cnnrun("predict", small_run, images, *[f"--{form}"] * (form != "text"))
    assert ended.code == 0
    told = ended.out + ended.err
    assert "good\\x1b" in told or "good\\u001b" in told
    assert not _LEFT.search(told)
    assert all(":" in line for line in ended.err.splitlines())  # none begins within a name


def test_names_of_files_in_a_data_set(cnnrun: Command, tmp_path: Path, images: Path) -> None:
    for name in ("a", "b"):
        (images / name).mkdir()
        for number in range(5):
            Image.new("L", (8, 8), number).save(images / name / f"{number}.png")
        (images / name / f"{EVIL}.png").write_bytes(b"no image")
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: folder, root: images, cache_dir: cache}\nmodel: mlp\ndevice: cpu\n"
    )
    for command in ("check", "data"):
        ended = cnnrun(command, "x.yaml")
        assert not _LEFT.search(ended.out + ended.err)
        assert "\\x1b]0;pwned" in ended.out + ended.err


@pytest.mark.parametrize("command", ["runs", "compare"])
def test_names_of_runs(cnnrun: Command, tmp_path: Path, command: str) -> None:
    for number, settings in enumerate(("{name: mlp}", '{name: "\\e[2J"}', "[")):
        folder = tmp_path / "runs" / f"x{EVIL}" / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text(f"name: x\nseed: 0\nmodel: {settings}\n")
        (folder / "summary.json").write_text('{"epochs": 1, "test": {"accuracy": 0.5}}')
    ended = cnnrun(command, "runs")
    assert ended.code == 0
    assert not _LEFT.search(ended.out + ended.err)


def test_keys_of_a_config(cnnrun: Command, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text('dataset: digits\nmodel: mlp\n"\\e[2J\\nerror": 1\n')
    ended = cnnrun("check", "x.yaml")
    assert ended.code == 2
    assert "\\x1b[2J\\nerror" in ended.err
    assert not _LEFT.search(ended.err)
