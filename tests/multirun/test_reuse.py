"""What is trained once is used again exactly as long as it would come out the same.

Three doors look for runs that are there: a study, a sweep, and `--resume-or-start`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from cnnrun.multirun.study.findings import Findings
from cnnrun.multirun.sweep.database import study_names
from cnnrun.multirun.sweep.sweep import status
from cnnrun.runner import finishing
from tests.conftest import Command, Result
from tests.inline import run_inline

pytestmark = pytest.mark.usefixtures("no_component_outlives_its_test")

PLUGIN = """\
from cnnrun.plugin import models
from torch import nn

@models.register("reused")
class Mine(nn.Module):
    "A linear model."

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images):
        return self.layers(images)
"""


def write_images(root: Path, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for label in ("a", "b"):
        for number in range(12):
            pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8, generator=random)
            file = root / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(file)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run_inline(monkeypatch)
    monkeypatch.setattr(finishing, "draw_plots", lambda *_: None)  # only that they'd be drawn
    monkeypatch.setattr(Findings, "draw", lambda _: None)
    write_images(tmp_path / "images", 0)
    (tmp_path / "mine.py").write_text(PLUGIN)
    base = {
        "dataset": {"name": "folder", "root": str(tmp_path / "images"), "channels": "gray",
                    "validation": 0.25, "test": 0.25, "batch_size": 8},
        "model": "reused", "optimizer": {"name": "sgd", "lr": 0.1}, "device": "cpu",
        "plugins": [str(tmp_path / "mine.py")], "training": {"epochs": 1, "draw": False},
    }  # fmt: skip
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "grid.yaml").write_text("base: base.yaml\ngrid: {optimizer.lr: [0.1, 0.2]}\n")
    (tmp_path / "search.yaml").write_text(
        "base: base.yaml\noptuna: {trials: 2, space: {optimizer.lr: {log_uniform: [1e-3, 1e-1]}}}\n"
    )
    (tmp_path / "study.yaml").write_text(
        "base: base.yaml\nvariants: {low: {optimizer.lr: 0.1}, high: {optimizer.lr: 0.2}}\n"
        "seeds: 1\n"
    )
    return tmp_path


DOORS: dict[str, tuple[list[str], str]] = {
    "sweep of a grid": (["sweep", "grid.yaml", "--workers=1"], "sweeps/grid/runs"),
    "sweep by a search": (["sweep", "search.yaml", "--workers=1"], "sweeps/search/runs"),
    "study": (["study", "study.yaml"], "studies/study/runs"),
    "resume or start": (["train", "base.yaml", "--resume-or-start"], "runs"),
}


def change_plugin(folder: Path) -> None:
    (folder / "mine.py").write_text(PLUGIN.replace("nn.Flatten()", "nn.Flatten(), nn.ReLU()"))


def change_images(folder: Path) -> None:
    write_images(folder / "images", 1)


def change_no_result(folder: Path) -> None:
    base = yaml.safe_load((folder / "base.yaml").read_text())
    base["training"] |= {"checkpoint_every": "7 steps", "draw": True}
    base |= {"loggers": ["csv"], "name": "base"}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))


def touch_all(folder: Path) -> None:
    """Copied to another machine, files keep what they hold and get other times."""
    for file in [folder / "mine.py", *folder.glob("images/*/*")]:
        os.utime(file, (1e9, 1e9))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda _: None, ""),
    "times of files": (touch_all, ""),
    "what changes no result": (change_no_result, ""),
    "the plug-in": (change_plugin, "code has changed since: mine.py changed"),
    "nothing after that": (lambda _: None, ""),
    "the images": (change_images, "the data have changed since"),
    "nothing after those": (lambda _: None, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_runs_are_used_again_or_trained_anew(folder: Path, cnnrun: Command, door: str) -> None:
    command, place = DOORS[door]

    def finished() -> set[Path]:
        return {file.parent for file in folder.glob(f"{place}/*/*/summary.json")}

    assert cnnrun(*command).code == 0
    before = finished()
    assert len(before) == (1 if door == "resume or start" else 2)
    for what, (change, told) in CHANGES.items():
        change(folder)
        again = cnnrun(*command)
        assert again.code == 0, again.err
        new = finished() - before
        if told:
            assert len(new) == (1 if door == "resume or start" else 2), (what, again.err)
            assert again.err.count(told) == 1, (what, again.err)
        else:
            assert new == set(), (what, again.err)
            assert "changed since" not in again.err, what
        before |= new


@pytest.mark.slow
def test_what_is_shown_of_a_sweep_are_its_newest_trials(folder: Path, cnnrun: Command) -> None:
    def runs_of(ended: Result) -> set[str]:
        assert ended.code == 0, ended.err
        return {run for trial in json.loads(ended.out)["trials"] for run in trial["runs"].values()}

    command = ["sweep", "search.yaml", "--workers=1", "--json"]
    first = runs_of(cnnrun(*command))
    change_images(folder)
    second = runs_of(cnnrun(*command))
    assert not first & second
    change_plugin(folder)  # to look at it, nothing has to be as it was
    shown = status(Path("sweeps/search"), [str(folder / "mine.py")])
    assert {run for trial in shown.results.trials for run in trial.runs.values()} == second
    assert [name.rpartition("-")[2].partition(".")[2] for name in study_names(
        f"sqlite:///{folder}/sweeps/search/sweep.db")] == ["", "2"]  # fmt: skip


@pytest.mark.slow
def test_who_joins_with_other_code_is_refused(folder: Path, cnnrun: Command) -> None:
    assert cnnrun("sweep", "grid.yaml", "--workers=1").code == 0
    runs = set(folder.glob("sweeps/grid/runs/*/*"))
    change_plugin(folder)
    options = [f"--plugin={folder / 'mine.py'}"]
    ended = cnnrun("sweep", "--join", "sweeps/grid", *options)
    assert ended.code != 0
    assert "code has changed since: mine.py changed" in ended.err
    assert "join with the same code and data" in ended.err
    assert set(folder.glob("sweeps/grid/runs/*/*")) == runs
