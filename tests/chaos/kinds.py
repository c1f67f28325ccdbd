"""Kinds of hostile files: how one is made of good ones, and the commands that are given it."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.chaos import damage
from tests.chaos.damage import change_bytes, change_json, change_values
from tests.config.test_fuzz_config import change_text, mutated_config
from tests.data.test_fuzz_images import damaged_image

_PLOTS = ["confusion", "curves", "weights", "samples", "mistakes"]
_IMAGES_A_CASE = 8


@dataclass(frozen=True)
class Case:
    """What a case of a kind runs, after its files lie in the folder.

    arguments: of `cnnrun`.
    owned: files and folders that the command may write.
    files: so many of them are damaged.
    must_work: no damage is an excuse, as everything can be made anew.
    """

    arguments: list[str]
    owned: tuple[str, ...] = ()
    files: int = 1
    must_work: bool = False


@dataclass(frozen=True)
class Kind:
    """original: the folder of good files. make: damages a copy, says what is run."""

    original: str
    make: Callable[[Path, random.Random], Case]


# Run directories ----------------------------------------------------------------------------------


def _of_run(folder: Path, draw: random.Random) -> Case:
    """A command that opens the run `theirs`."""
    commands: dict[str, tuple[list[str], tuple[str, ...]]] = {
        "eval": (["eval", "theirs"], ("theirs",)),
        "viz": (["viz", draw.choice(_PLOTS), "theirs", "-o", "x.png"], ("x.png",)),
        "report": (["report", draw.choice(["theirs", "."]), "-o", "x.html"], ("x.html",)),
        "runs": (["runs", ".", *draw.choice([[], ["--json"], ["--csv"]])], ()),
        "compare": (["compare", ".", *draw.choice([[], ["--json"]])], ()),
        "export": (
            ["export", "theirs", "--format", "safetensors", "-o", "x.safetensors"],
            ("x.safetensors",),
        ),
        "predict": (["predict", "theirs", "images"], ()),
        "describe": (["describe", "theirs"], ()),
        "resume": (["train", "--resume", "theirs", "-q", "training.epochs=4"], ("theirs",)),
        "resume as it is": (["train", "--resume", "theirs", "-q"], ("theirs",)),
    }
    command = draw.choice(list(commands))
    if command == "resume as it is":
        (folder / "theirs" / "summary.json").unlink(missing_ok=True)
    return Case(*commands[command])


def _checkpoint(folder: Path, draw: random.Random) -> Case:
    best, last = (folder / "theirs" / "checkpoints" / f"{name}.pt" for name in ("best", "last"))
    which = draw.choice([[best], [last], [best, last]])
    for file in which:
        damage.change_checkpoint(file, draw)
    if draw.random() < 0.5:
        return _of_run(folder, draw)
    file = str(which[0].relative_to(folder))
    return draw.choice(
        [
            Case(["eval", file], ("theirs",)),
            Case(["viz", draw.choice(_PLOTS), file, "-o", "x.png"], ("x.png",)),
            Case(["describe", file]),
            Case(["predict", file, "images"]),
            Case(["export", file, "--format", "safetensors", "-o", "x.st"], ("x.st",)),
            Case(["check", "x.yaml", f"transfer.weights={file}", "transfer.case=large_similar"]),
        ]
    )


def _text_of_run(name: str) -> Callable[[Path, random.Random], Case]:
    def make(folder: Path, draw: random.Random) -> Case:
        file = folder / "theirs" / name
        if draw.random() < 0.1:
            file.write_bytes(change_bytes(file.read_bytes(), draw))
        elif file.suffix == ".yaml":
            _change_yaml(file, draw)
        else:
            change_json(file, draw)
        return _of_run(folder, draw)

    return make


def _change_yaml(file: Path, draw: random.Random) -> None:
    if draw.random() < 0.4:
        file.write_bytes(change_text(file.read_bytes(), draw))
        return
    values = yaml.safe_load(file.read_text())
    change_values(values, draw)
    file.write_text(yaml.safe_dump(values, allow_unicode=True), errors="surrogateescape")


def _weights(kind: str) -> Callable[[Path, random.Random], Case]:
    def make(folder: Path, draw: random.Random) -> Case:
        change = damage.change_checkpoint if kind == "pt" else damage.change_safetensors
        change(folder / f"w.{kind}", draw)
        config = f"transfer_{kind}.yaml"
        return draw.choice([Case(["check", config]), Case(["train", config, "-q"], ("runs",))])

    return make


# Data ---------------------------------------------------------------------------------------------


def _of_data(config: str, draw: random.Random, **options: bool) -> Case:
    owned = ("cache", "spool")
    return draw.choice(
        [
            Case(["check", config], owned, **options),
            Case(["data", config], owned, **options),
            Case(["data", config, "--json"], owned, **options),
            Case(["train", config, "-q"], (*owned, "runs"), **options),
        ]
    )


def _shards(folder: Path, draw: random.Random) -> Case:
    damage.change_tar(folder / draw.choice(["train.tar", "test.tar"]), draw)
    return _of_data("x.yaml", draw)


def _idx(folder: Path, draw: random.Random) -> Case:
    file = draw.choice(sorted((folder / "MNIST" / "raw").iterdir()))
    content = file.read_bytes()
    if file.suffix == ".gz" and draw.random() < 0.6:
        content = gzip.compress(change_bytes(gzip.decompress(content), draw), mtime=0)
    else:
        content = change_bytes(content, draw)
    file.write_bytes(content)
    return _of_data("x.yaml", draw)


def _cifar(folder: Path, draw: random.Random) -> Case:
    damage.change_cifar(draw.choice(sorted((folder / "cifar-10-batches-py").iterdir())), draw)
    return _of_data("x.yaml", draw)


def _table(folder: Path, draw: random.Random) -> Case:
    damage.change_table(folder / "table.csv", draw)
    return _of_data("x.yaml", draw)


def _images(folder: Path, draw: random.Random) -> Case:
    for number in range(_IMAGES_A_CASE):
        name = draw.choice(["jpg", "png", "tif", "gif", "webp", "bmp"])
        file = folder / "images" / f"class{number % 2}" / f"damaged{number}.{name}"
        file.write_bytes(damaged_image(draw.randrange(10**9)))
    case = _of_data(draw.choice(["none.yaml", "disk.yaml"]), draw)
    skip = draw.choice([[], ["dataset.on_error=skip"]])
    return Case([*case.arguments, *skip], case.owned, _IMAGES_A_CASE)


def _images_to_predict(folder: Path, draw: random.Random) -> Case:
    for number in range(_IMAGES_A_CASE):
        file = folder / "images" / f"damaged{number}.png"
        file.write_bytes(damaged_image(draw.randrange(10**9)))
    how = draw.choice([[], ["--json"], ["--csv"], ["--top", "1"]])
    return Case(["predict", "theirs", "images", *how], files=_IMAGES_A_CASE)


def _cache(folder: Path, draw: random.Random) -> Case:
    """What cnnrun itself keeps of images and shards; it is made anew, whatever became of it."""
    from tests.chaos.originals import run_command

    config = "disk.yaml" if (folder / "disk.yaml").is_file() else "x.yaml"
    os.chdir(folder)
    assert run_command("check", config) == 0
    kept = sorted(f for name in ("cache", "spool") for f in (folder / name).rglob("*.*"))
    file = draw.choice(kept)
    content = change_bytes(file.read_bytes(), draw)
    file.write_bytes(draw.choice([content, content, content[: len(content) // 2], b""]))
    return _of_data(config, draw, must_work=True)


# Sweeps -------------------------------------------------------------------------------------------


def _of_sweep(draw: random.Random) -> Case:
    folder = "sweeps/quick"
    return draw.choice(
        [
            Case(["report", folder, "-o", "x.html"], ("x.html",)),
            Case(["runs", folder]),
            Case(["compare", folder]),
            Case(["sweep", f"{folder}/sweep.yaml", "--dry-run"], ("sweeps",)),
            Case(["sweep", "--join", folder, "--workers", "1"], (folder,)),
            Case(["sweep", "--join", f"sqlite:///{folder}/sweep.db"], ("sweeps",)),
        ]
    )


def _database(folder: Path, draw: random.Random) -> Case:
    damage.change_database(folder / "sweeps" / "quick" / "sweep.db", draw)
    return _of_sweep(draw)


def _text_of_sweep(folder: Path, draw: random.Random) -> Case:
    sweep = folder / "sweeps" / "quick" / "sweep.yaml"
    _change_yaml(draw.choice([sweep, sweep.with_name("base.yaml")]), draw)
    case = _of_sweep(draw)
    # The file says where its own folder is, which has what the commands of --dry-run need.
    named = re.search(r"^output: *(\w+)$", sweep.read_text(errors="replace"), re.MULTILINE)
    return replace(case, owned=(*case.owned, named[1])) if named and case.owned else case


FILES = {
    "checkpoint": Kind("run", _checkpoint),
    "config.yaml of a run": Kind("run", _text_of_run("config.yaml")),
    "metrics.jsonl": Kind("run", _text_of_run("metrics.jsonl")),
    "summary.json": Kind("run", _text_of_run("summary.json")),
    "environment.json": Kind("run", _text_of_run("environment.json")),
    "changes.jsonl": Kind("run", _text_of_run("changes.jsonl")),
    "weights (.pt)": Kind("run", _weights("pt")),
    "weights (.safetensors)": Kind("run", _weights("safetensors")),
    "tar shard": Kind("shards", _shards),
    "IDX": Kind("idx", _idx),
    "CIFAR": Kind("cifar", _cifar),
    "csv": Kind("table", _table),
    "images of a data set": Kind("folder", _images),
    "images to predict": Kind("run", _images_to_predict),
    "cache of images": Kind("folder", _cache),
    "index of shards": Kind("shards", _cache),
    "sweep's database": Kind("sweep", _database),
    "sweep.yaml, base.yaml": Kind("sweep", _text_of_sweep),
}


def make_file(number: int, originals: Path, folder: Path) -> tuple[str, Case]:
    """The kind of case `number`, and the case; its files are then in `folder`."""
    draw = random.Random(number)
    present = {name: kind for name, kind in FILES.items() if (originals / kind.original).is_dir()}
    name = list(present)[number % len(present)]
    shutil.copytree(originals / present[name].original, folder)
    return name, present[name].make(folder, draw)


def make_config(number: int, _originals: Path, folder: Path) -> tuple[str, Case]:
    """A mutated config; `check` sees it, and it is trained no further."""
    text, overrides = mutated_config(number)
    folder.mkdir()
    (folder / "case.yaml").write_bytes(text)
    return "config", Case(["check", "case.yaml", *overrides])
