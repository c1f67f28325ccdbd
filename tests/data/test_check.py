"""`dataset.check`: which image files are decoded before training, and what of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cnnrun.config.experiment import load
from cnnrun.data import normalize
from cnnrun.data.images import check, scan
from cnnrun.data.images.assemble import image_splits
from cnnrun.data.images.check import chosen_check, sample
from cnnrun.data.images.decoding import BadImageError, Check, ImageFormat, ImageOptions
from cnnrun.data.images.files import Files, ImageFiles
from cnnrun.engine.build_data import build_dataset
from cnnrun.errors import UserError
from tests.chaos.runs import assert_equal
from tests.conftest import Command
from tests.data.test_image_files import halve, write

CONFIG = """\
name: photos
dataset: {name: folder, root: photos, size: 8, batch_size: 4, validation: 0.2, cache_dir: cache}
model: {name: cnn, channels: [4], batch_norm: true}
optimizer: {name: sgd, lr: 0.1}
device: cpu
training: {epochs: 3, draw: false}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Thirty images in two classes, and a config for them."""
    for number in range(30):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{number:02}.png", number)
    (tmp_path / "photos.yaml").write_text(CONFIG)
    return tmp_path / "photos"


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of each file that is decoded only to be checked."""
    found: list[int] = []
    real = scan.scan

    def noted(files, options, form=None, into=None, numbers=None):  # type: ignore[no-untyped-def]
        found.extend(range(len(files)) if numbers is None else numbers)
        return real(files, options, form, into, numbers)

    monkeypatch.setattr(scan, "scan", noted)
    monkeypatch.setattr(check, "scan", noted)
    return found


@pytest.mark.parametrize(
    ("wanted", "count", "chosen"),
    [("auto", 100_000, "all"), ("auto", 100_001, "first_use"), ("all", 10**7, "all"),
     ("first_use", 3, "first_use"), ("none", 3, "none")],
)  # fmt: skip
def test_small_sets_are_checked_whole_and_of_large_ones_it_is_told(
    wanted: Check, count: int, chosen: str
) -> None:
    options = ImageOptions(check=wanted)
    assert chosen_check(count, options) == chosen
    told = wanted == "auto" and chosen != "all"
    assert ["dataset.check: all" in note for note in options.notes] == [True] * told


def test_what_leaves_files_out_or_decodes_them_anyway_looks_at_all() -> None:
    for options in (ImageOptions(on_error="skip"), ImageOptions(cache="ram")):
        assert chosen_check(10**7, options) == "all"
        assert not options.notes
    assert chosen_check(9, ImageOptions(cache="disk", check="none")) == "all"
    for lazy in ("first_use", "none"):
        with pytest.raises(UserError, match=r"can't leave out bad files.*set dataset.check: all"):
            chosen_check(9, ImageOptions(on_error="skip", check=lazy))  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 7)])
def test_a_sample_is_spread_over_all(count: int, most: int) -> None:
    found = list(sample(count, most))
    assert len(found) <= most
    assert len(found) > most / 2 or len(found) == count
    assert found == sorted(set(found))
    assert not found or (found[0] == 0 and found[-1] >= count - count / len(found))


@pytest.mark.parametrize("which", ["all", "first_use", "none"])
def test_as_many_files_are_decoded_before_as_was_asked_for(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: Check
) -> None:
    monkeypatch.setattr(check, "SAMPLE", 10)
    numbers = decoded(monkeypatch)
    files = Files(sorted(map(str, photos.rglob("*.png"))), str(photos))
    options = ImageOptions(size=(8, 8), channels=3, check=which, cache_dir=str(tmp_path / "cache"))
    split = image_splits({"train": (files, torch.arange(30))}, options)["train"]
    assert len(numbers) == {"all": 30, "first_use": 10, "none": 0}[which]
    # Contents are known of all or of none: half of them would say something else each time.
    assert split.contents is not None
    assert bool((split.contents > 0).all()) == (which == "all")
    assert bool((split.contents == 0).all()) == (which != "all")
    halve(files.paths[0])
    if which == "first_use":  # it is in the sample
        with pytest.raises(BadImageError, match="damaged"):
            image_splits({"train": (files, torch.arange(30))}, options)


def test_every_bad_file_of_a_batch_is_named(photos: Path) -> None:
    files = Files(sorted(map(str, photos.rglob("*.png"))))
    for number in (3, 7):
        halve(files.paths[number])
    images = ImageFiles(files, ImageFormat((8, 8), 3))
    with pytest.raises(BadImageError) as caught:
        images[torch.tensor([7, 1, 3, 5])]
    assert [bad.path for bad in caught.value.files] == [files.paths[7], files.paths[3]]


def file_of(split: str, number: int = 0) -> Path:
    """A file of that split of `photos.yaml`."""
    return Path(str(build_dataset(load(Path("photos.yaml"))).split(split).name(number)))


@pytest.mark.parametrize(
    ("which", "split"), [("first_use", "train"), ("none", "validation"), ("none", "test")]
)
def test_a_file_that_turns_out_bad_stops_training_with_its_name_and_it_goes_on_to_the_bit(
    photos: Path,  # noqa: ARG001
    cnnrun: Command,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    split: str,
) -> None:
    bad = file_of(split, 2)  # not the first, which is the sample
    monkeypatch.setattr(check, "SAMPLE", 1)
    asked = ("train", "photos.yaml", "-q", f"dataset.check={which}", "dataset.normalize=half")
    whole = Path(cnnrun(*asked, "output=whole").out.strip())
    content = bad.read_bytes()
    halve(str(bad))
    ended = cnnrun(*asked)
    assert ended.code == 1
    assert f"{bad}: damaged" in ended.err
    run = next(Path("runs/photos").iterdir())
    assert f"cnnrun train --resume {run}" in ended.err
    assert str(bad) in (run / "bad_files.csv").read_text()
    assert cnnrun("train", "--resume", run, "-q").code == 1  # it is still bad
    bad.write_bytes(content)
    assert cnnrun("train", "--resume", run, "-q").code == 0
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for name in ("last", "best"):
        ours, expected = (
            torch.load(r / "checkpoints" / f"{name}.pt", weights_only=True)["model"]
            for r in (run, whole)
        )
        assert_equal(ours, expected, name)


def test_a_run_goes_on_whether_or_not_all_files_were_read_before(
    photos: Path,  # noqa: ARG001
    cnnrun: Command,
) -> None:
    def resumed(*changes: str) -> str:
        ended = cnnrun("train", "--resume", run, "-q", *changes)
        return ended.err if ended.code else ""

    run = cnnrun("train", "photos.yaml", "-q", "training.epochs=1").out.strip()
    assert not resumed("training.epochs=2", "dataset.check=none")
    trained = file_of("train")
    write(trained, 99)
    assert not resumed("training.epochs=3")  # nobody reads it before
    assert not resumed("training.epochs=4", "dataset.check=all")  # nor was it read when saved
    write(trained, 98)
    assert "another content" in resumed("training.epochs=5")
    trained.rename(trained.with_name("15b.png"))
    assert "have changed" in resumed("training.epochs=5", "dataset.check=none")


def test_what_was_measured_of_all_files_is_remembered_and_else_some_are_measured(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(sorted(map(str, photos.rglob("*.png"))), str(photos))
    options = ImageOptions(size=(8, 8), channels=3, check="all", cache_dir=str(tmp_path))
    parts = {"train": (files, torch.arange(30))}
    monkeypatch.setattr(normalize, "MEASURED", 10)
    measured: list[int] = []
    real = normalize.measure

    def noted(images, progress=None):  # type: ignore[no-untyped-def]
        measured.append(images.shape[0])
        return real(images, progress)

    monkeypatch.setattr(normalize, "measure", noted)
    kept = torch.arange(29)
    for split in (image_splits(parts, options)["train"] for _ in range(2)):
        whole = normalize.resolve("auto", split.images, channels=3)
        some = normalize.resolve("auto", split.take(kept).images, channels=3)
        assert whole == real(split.images)
        assert some == real(split.take(kept).images) != whole
    assert measured == [30, 29]
    lazy = image_splits(parts, replace(options, check="none"))["train"]
    found = normalize.resolve("auto", lazy.images, channels=3)
    assert measured == [30, 29, 10]
    assert found == real(lazy.images[torch.arange(0, 30, 3)])
