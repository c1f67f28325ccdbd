"""Data with other labels than in training, and labels in which training images don't differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command

COUNT = 24


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for k in range(COUNT):
        Image.fromarray(random.integers(0, 256, (6, 6), dtype=np.uint8)).save(f"{k}.png")
    rows = [f"{k}.png,{k % 2},{k % 3 // 2},1,0" for k in range(COUNT)]
    Path("marks.csv").write_text("\n".join(["path,a,b,all,none", *rows]))
    named = ["|".join(n for n, there in zip("ab", (k % 2, k % 3 == 2), strict=True) if there)
             for k in range(COUNT)]  # fmt: skip
    Path("names.csv").write_text(
        "\n".join(["path,label", *(f"{k}.png,{v}" for k, v in enumerate(named))])
    )
    # Of the labels a and b, no image here has b.
    Path("others.csv").write_text(
        "\n".join(["path,label", *(f"{k}.png,{'a' * (k % 2)}" for k in range(8))])
    )


def _write(columns: str, file: str) -> Path:
    Path("c.yaml").write_text(
        f"task: multilabel\ndataset: {{name: csv, file: {file}, {columns}, batch_size: 8}}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    return Path("c.yaml")


def test_a_label_that_no_image_of_other_data_has_is_in_none_of_them(cnnrun: Command) -> None:
    run = cnnrun("train", _write("label_separator: '|'", "names.csv"), "-q").out.strip()
    ended = cnnrun("eval", run, "dataset.file=others.csv", "--json")
    assert ended.code == 0, ended.err
    scores = json.loads(ended.out)
    assert scores["labels"] == ["a", "b"]
    assert [row["support"] for row in scores["per_label"]] == [4, 0]
    assert scores["per_label"][1]["average_precision"] is None
    assert scores["map"] == scores["per_label"][0]["average_precision"]


def test_columns_that_are_not_given_are_unknown(cnnrun: Command) -> None:
    run = cnnrun("train", _write("label_columns: [a, b]", "marks.csv"), "-q").out.strip()
    ended = cnnrun("eval", run, "dataset.label_columns=[a]")
    assert ended.code == 1
    assert "the data have no labels b (there are a)" in ended.err


def test_labels_that_all_or_none_have_are_told(cnnrun: Command) -> None:
    config = _write("label_columns: [a, b, all, none]", "marks.csv")
    told = "of the training images all have all and none has none: what always is the same"
    assert told in cnnrun("train", config).err
    shown = cnnrun("data", config).out
    assert "WARNING  labels: every training image has all" in shown
    assert "WARNING  labels: 1 of 4 have no image in the train split: none" in shown
    fine = _write("label_columns: [a, b]", "marks.csv")
    assert "of the training images" not in cnnrun("train", fine).err
