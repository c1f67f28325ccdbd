"""What comes from one source is never divided between splits, and what may is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnrun.data.dataset import Dataset
from cnnrun.data.identity import ids_of_names
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.folder import folder
from cnnrun.data.sources.groups import By, sources
from cnnrun.data.splits import with_validation
from tests.conftest import Command
from tests.data.test_source_folder import fill

LAYOUTS = {
    "frames in folders": [f"{c}/v{v}/{f:03}.png" for c in "ab" for v in range(9) for f in range(6)],
    "frames by name": [f"{c}/v{v}_{f:03}.png" for c in "ab" for v in range(9) for f in range(6)],
    "numbers alone": [f"{c}/{v}-{f}.png" for c in "ab" for v in range(9) for f in range(6)],
    "with a word behind": [f"{c}/p{v} s{f}L.png" for c in "ab" for v in range(9) for f in range(6)],
    "numbered": [f"{c}/{c}_{f:03}.png" for c in "ab" for f in range(50)],
    "by number": [f"{c}/{f}.png" for c in "ab" for f in range(50)],
    "without numbers": [f"{c}/{x}{y}.png" for c in "ab" for x in "rstu" for y in "klmnopq"],
    "a few in a folder": [f"{c}/{f}.png" for c in "ab" for f in range(50)] + ["a/more/1.png"],
}  # fmt: skip
GROUPED: dict[str, By] = {
    "frames in folders": "folder", "frames by name": "name", "numbers alone": "name",
    "with a word behind": "name",
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "by", "source"),
    [
        ("a/v1/001.png", "folder", "v1"), ("a/001.png", "folder", ""),
        ("a/x/v1/1.png", "folder", "x/v1"),
        ("a/v1_001.png", "name", "v1"), ("a/v1/001.png", "name", "v1/"), ("a/001.png", "name", ""),
        ("a/cat.png", "name", ""), ("a/p7 (12).png", "name", "p7"), ("b/p7 (13).png", "name", "p7"),
        ("a/p7-12-left.png", "name", "p7"), ("a/v1_001", "name", "v1"),
    ],
)  # fmt: skip
def test_the_source_of_a_file(file: str, by: By, source: str) -> None:
    root = str(Path("some") / "root")
    assert sources([str(Path(root) / file)], root, by) == [source]


def lay(place: Path, files: list[str]) -> list[Path]:
    """Images at these paths, each one another."""
    fill(place / "all", len(files))
    made = sorted((place / "all").iterdir())
    for image, file in zip(made, files, strict=True):
        (place / "root" / file).parent.mkdir(parents=True, exist_ok=True)
        image.rename(place / "root" / file)
    return [place / "root" / file for file in files]


def read(place: Path, by: By | None) -> tuple[Dataset, list[str]]:
    options = ImageOptions(threads=1, cache="ram")
    found = folder(options, root=str(place / "root"), group=by)
    return with_validation(found, 0.2, 0), options.notes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_may_belong_together_is_told_and_stays_together(tmp_path: Path, layout: str) -> None:
    lay(tmp_path, LAYOUTS[layout])
    plain, notes = read(tmp_path, None)
    by = GROUPED.get(layout)
    assert [f"dataset.group: {by}" in note for note in notes if "dataset.group" in note] == (
        [True] if by else []
    )
    if not by:
        return
    grouped, notes = read(tmp_path, by)
    assert not any("dataset.group" in note for note in notes)
    divided, kept = (_in_several_splits(dataset, tmp_path, by) for dataset in (plain, grouped))
    assert (divided > 0, kept) == (True, 0)
    assert all(len(grouped.split(name)) for name in ("train", "validation", "test"))


def _in_several_splits(dataset: Dataset, place: Path, by: By) -> int:
    """How many sources have files in more than one split, found by the files' own ids."""
    files = sorted((place / "root").rglob("*.png"))
    names = [path.relative_to(place / "root").as_posix() for path in files]
    of = sources([str(path) for path in files], str(place / "root"), by)
    source = dict(zip(ids_of_names(names).tolist(), of, strict=True))
    held = [
        {source[number] for number in dataset.split(name).ids.tolist()}
        for name in ("train", "validation", "test")
    ]
    return len((held[0] & held[1]) | (held[0] & held[2]) | (held[1] & held[2]))


def test_a_run_says_so_and_takes_the_key(cnnrun: Command, tmp_path: Path) -> None:
    lay(tmp_path, LAYOUTS["frames by name"])
    (tmp_path / "x.yaml").write_text(
        "dataset: {name: folder, root: root, batch_size: 20, validation: 0.2}\n"
        "model: {name: mlp, hidden: [4]}\ndevice: cpu\ntraining: {epochs: 1, draw: false}\n"
    )
    ended = cnnrun("train", "x.yaml")
    assert "108 images are numbered within 9 names, such as v0; if each" in ended.err
    ended = cnnrun("train", "x.yaml", "dataset.group=name")
    assert (ended.code, "numbered within" in ended.err) == (0, False), ended.err
