"""Images in class folders and in tables, with what people and systems leave in them."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources.csv_file import csv_file
from cnnrun.data.sources.folder import folder
from cnnrun.data.sources.listed_names import natural_order
from cnnrun.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fill(place: Path, count: int = 3, level: int = 0, start: int = 0, ending: str = "png") -> None:
    """Images of one gray level, so that a label can be told from the pixels."""
    place.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        Image.new("RGB", (8, 6), (level, level, level)).save(place / f"{number:02}.{ending}")


def base_data(root: Path, classes: tuple[str, ...] = ("cat", "dog"), val: str = "val") -> Path:
    for part, count in (("train", 6), (val, 2)):
        for k, name in enumerate(classes):
            fill(root / part / name, count, level=10 * k)
    return root


def opened(root: Path, **keys: Any) -> tuple[Dataset, ImageOptions]:
    options = ImageOptions(threads=1)
    return folder(options, root=str(root), **keys), options


def levels(dataset: Dataset, split: str) -> dict[str, set[int]]:
    """The gray levels of the images of each class."""
    part = dataset.split(split)
    found: dict[str, set[int]] = {}
    for image, label in zip(part.images[torch.arange(len(part))], part.labels, strict=True):
        found.setdefault(dataset.classes[label], set()).add(int(image.max()))
    return found


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_and_val_without_test(tmp_path: Path, val: str) -> None:
    dataset, options = opened(base_data(tmp_path / "D", val=val))
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test), dataset.validation) == (12, 4, None)
    assert levels(dataset, "train") == levels(dataset, "test") == {"cat": {0}, "dog": {10}}
    assert any("no test split" in note for note in options.notes)


def test_three_split_folders(tmp_path: Path) -> None:
    root = base_data(tmp_path)
    fill(root / "test" / "dog", 3, level=10)
    dataset, options = opened(root)
    assert dataset.validation is not None
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [12, 4, 3]
    assert levels(dataset, "test") == {"dog": {10}}
    assert options.notes == []


def test_train_and_test_leave_validation_to_the_config(tmp_path: Path) -> None:
    dataset, _ = opened(base_data(tmp_path, val="test"))
    assert (len(dataset.train), len(dataset.test), dataset.validation) == (12, 4, None)


@pytest.mark.parametrize(("test", "least", "most"), [(0.2, 2, 12), (0.5, 8, 22), (3, 3, 3)])
def test_one_folder_is_split_by_name(tmp_path: Path, test: Any, least: int, most: int) -> None:
    fill(tmp_path / "a", 20, level=1)
    fill(tmp_path / "b", 10, level=2)
    dataset, _ = opened(tmp_path, test=test)
    assert least <= len(dataset.test) <= most
    assert len(dataset.train) + len(dataset.test) == 30
    assert levels(dataset, "train") == {"a": {1}, "b": {2}}
    again, _ = opened(tmp_path, test=test)
    files = [split.images.files.paths for split in (dataset.test, again.test)]  # type: ignore[union-attr]
    assert files[0] == files[1]
    assert not set(files[0]) & set(dataset.train.images.files.paths)  # type: ignore[union-attr]


@pytest.mark.parametrize("test", [0.2, 0.5])
def test_other_files_move_none_to_another_split(tmp_path: Path, test: float) -> None:
    fill(tmp_path / "D" / "a", 20, level=1)
    fill(tmp_path / "D" / "b", 20, level=2)
    before, _ = opened(tmp_path / "D", test=test)
    fill(tmp_path / "D" / "c", 5, level=3)
    for number in range(10):
        (tmp_path / "D" / "a" / f"{number:02}.png").rename(tmp_path / "D" / "b" / f"x{number}.png")
    after, _ = opened(tmp_path / "D", test=test)
    train, tested = set(before.train.ids.tolist()), set(before.test.ids.tolist())
    assert not train & set(after.test.ids.tolist())
    assert not tested & set(after.train.ids.tolist())
    assert len((train | tested) & {*after.train.ids.tolist(), *after.test.ids.tolist()}) == 30


def test_train_alone_is_split_too(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 10)
    fill(tmp_path / "train" / "b", 10)
    dataset, _ = opened(tmp_path)
    assert len(dataset.train) + len(dataset.test) == 20
    assert len(dataset.test)
    with pytest.raises(UserError, match="leaves none to train on"):
        opened(tmp_path, test=20)


def test_a_classs_only_image_is_trained_on(tmp_path: Path) -> None:
    for number in range(30):
        fill(tmp_path / "one" / f"c{number}", 1)
    with pytest.raises(UserError, match="every class keeps one to train on"):
        opened(tmp_path / "one")
    fill(tmp_path / "one" / "many", 10)
    dataset, options = opened(tmp_path / "one")
    assert dataset.class_counts.min() == 1
    assert any("no test image of 30 of 31 classes" in note for note in options.notes)
    assert any("keeps at least one image to train on" in note for note in options.notes)


def test_why_a_class_is_not_tested_is_true_of_classes_of_several_images(tmp_path: Path) -> None:
    """By their names alone, all three images of a class are trained on now and then."""
    for number in range(12):
        fill(tmp_path / f"c{number}", 3)
    dataset, options = opened(tmp_path)
    tested = set(dataset.test.targets.held.tolist())
    untested = [name for k, name in enumerate(dataset.classes) if k not in tested]
    assert untested
    [note] = [note for note in options.notes if "no test image" in note]
    assert note.startswith(f"{tmp_path}: no test image of {len(untested)} of 12 classes: ")
    assert "only image" not in note
    assert "the folders train and test decide it" in note


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("training_set", "test_set"), "train test"),
        (("seg_train", "seg_test"), "train test"),
        (("Training", "Testing"), "train test"),
        (("train", "valid", "test"), "train validation test"),
        (("TrainSet", "val-images", "TEST DATA"), "train validation test"),
        (("asl_alphabet_train", "asl_alphabet_test"), "train test"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_people_call_the_splits(
    tmp_path: Path, names: tuple[str, ...], splits: str, wrapped: bool
) -> None:
    for name in names:
        for kind in ("cat", "dog"):
            fill(tmp_path.joinpath(*[name] * (1 + wrapped), kind), 4, level=len(kind))
    dataset, _ = opened(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert [s for s in ("train", "validation", "test") if len(dataset.split(s))] == splits.split()
    assert len(dataset.test) == 8


@pytest.mark.parametrize(
    ("train", "place"),
    [
        *(("train", place) for place in ("test", "test/test", "seg_pred/seg_pred", "test/unknown")),
        *(("", place) for place in ("test", "Testing/Testing", "seg_pred/seg_pred", "unlabeled")),
    ],
)
def test_images_without_labels_are_left_out(tmp_path: Path, train: str, place: str) -> None:
    root = tmp_path / "D"
    for kind in ("cat", "dog"):
        fill(root / train / kind, 10, level=len(kind))
    fill(root / place, 7, level=200)
    dataset, options = opened(root)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) + len(dataset.test) == 20
    assert any("7 images" in note or "not used" in note for note in options.notes)


def test_odd_layouts_are_told(tmp_path: Path) -> None:
    for year in ("2019", "2020"):
        for kind in ("cat", "dog"):
            fill(tmp_path / "D" / "top" / year / kind, 4)
    _, options = opened(tmp_path / "D")
    assert any(f"name {tmp_path / 'D' / 'top'}" in note for note in options.notes)
    _, options = opened(tmp_path / "D" / "top")
    assert any("hold the same folders cat, dog" in note for note in options.notes)
    fill(tmp_path / "E" / "test" / "cat", 2)
    fill(tmp_path / "E" / "cat", 2)
    with pytest.raises(UserError, match="test looks like the test split, but next to it"):
        opened(tmp_path / "E")


def test_litter_is_no_class_and_no_image(tmp_path: Path) -> None:
    root = base_data(tmp_path / "D")
    for place in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"):
        fill(root / "train" / place, 2, level=200)
        fill(root / "val" / place, 2, level=200)
        fill(root / "train" / "cat" / place, 1, level=200)
        fill(root / place)
    (root / "val" / ".ipynb_checkpoints2").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._00.png", "THUMBS.DB"):
        for place in (root, root / "train", root / "train" / "cat"):
            (place / name).write_bytes(b"\x89PNG no image")
    dataset, options = opened(root)
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test)) == (12, 4)
    assert levels(dataset, "train") == {"cat": {0}, "dog": {10}}
    assert len(options.notes) == 1  # of the test split


def test_any_case_of_ending_and_images_without_one(tmp_path: Path) -> None:
    root = base_data(tmp_path)
    for number, name in enumerate(("IMG_1.JPG", "b.Jpeg", "c.PNG", "no ending", "photo.jpg_large")):
        Image.new("RGB", (8, 6)).save(
            root / "train" / "cat" / name, "PNG" if number % 2 else "JPEG"
        )
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / "labels.csv").write_text("a,b")
    dataset, options = opened(root)
    assert dataset.class_counts.tolist() == [11, 6]
    assert f"{root}/train: skipped 2 files that are not images" in options.notes


def test_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    root = base_data(tmp_path)
    fill(root / "train" / "cat" / "2021" / "may", 4, level=0)
    fill(root / "train" / "dog" / "train", 1, level=10)
    dataset, _ = opened(root)
    assert dataset.class_counts.tolist() == [10, 7]
    assert levels(dataset, "train") == {"cat": {0}, "dog": {10}}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    root = base_data(tmp_path / "D")
    cat = root / "train" / "cat"
    (cat / "itself").symlink_to(cat)
    (cat / "up").symlink_to(root / "train")
    (cat / "top").symlink_to(tmp_path)
    (cat / "nowhere").symlink_to(cat / "nowhere")
    (cat / "sub").mkdir()
    (cat / "sub" / "back").symlink_to(cat)
    dataset, _ = opened(root)
    assert levels(dataset, "train") == {"cat": {0}, "dog": {10}}
    assert dataset.class_counts.tolist() == [6, 6]


def test_linked_folders_and_files_are_read(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", 4, level=10)
    root = base_data(tmp_path / "D")
    (root / "train" / "emu").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"gone.png: No such file"):
        opened(root)
    (root / "train" / "cat" / "gone.png").unlink()
    dataset, _ = opened(root)
    assert dataset.class_counts.tolist() == [6, 6, 4]


def test_a_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    root = base_data(tmp_path, ("ant", "cat", "dog"))
    (root / "val" / "cat").rename(root / "val" / "emu")
    with pytest.raises(UserError, match=r"classes that training has no images of: emu;"):
        opened(root)


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_class_may_be_absent_from_val(tmp_path: Path, how: str) -> None:
    root = base_data(tmp_path, ("ant", "cat", "dog"))
    for file in (root / "val" / "cat").iterdir():
        file.unlink()
    if how == "missing":
        (root / "val" / "cat").rmdir()
    dataset, options = opened(root)
    assert dataset.classes == ("ant", "cat", "dog")
    assert levels(dataset, "test") == {"ant": {0}, "dog": {20}}
    assert any("no images in cat" in note for note in options.notes) == (how == "empty")


def test_an_empty_training_class_is_a_note(tmp_path: Path) -> None:
    root = base_data(tmp_path)
    (root / "train" / "emu").mkdir()
    dataset, options = opened(root)
    assert dataset.classes == ("cat", "dog")
    assert f"{root}/train: no images in emu" in options.notes
    fill(root / "val" / "emu")
    with pytest.raises(UserError, match="emu"):
        opened(root)


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "n01440764", 3)
    fill(tmp_path / "val", 5, ending="jpg")
    wanted = r"val has 5 images, but no class folders; expected images as .*<class>"
    with pytest.raises(UserError, match=wanted):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.exists(), "no class folders"),
        (lambda root: fill(root), "3 images, but no class folders"),
        (lambda root: (root / "cat").mkdir(), "no images in cat"),
        (lambda root: fill(root / "val" / "cat"), "no folder `train`"),
        (lambda root: (root / "train").mkdir(), "no class folders"),
        (lambda root: [fill(root / n / "a") for n in ("train", "val", "valid")], "are both valid"),
    ],
)
def test_folders_of_another_form(tmp_path: Path, make: Any, message: str) -> None:
    root = tmp_path / "D"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=message):
        opened(root)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.root: there is no folder"):
        opened(tmp_path / "none")


def test_names_in_any_script_and_natural_order(tmp_path: Path) -> None:
    names = ["10", "9", "été", "кот", "猫", "cat 2", "cat 10", "Z", "🐈", "شجرة"]
    for name in names:
        fill(tmp_path / "train" / name, 1)
    # As macOS writes it: the accent is a letter of its own.
    fill(tmp_path / "test" / unicodedata.normalize("NFD", "été"), 1)
    dataset, _ = opened(tmp_path)
    assert dataset.classes[:2] == ("9", "10")
    assert dataset.classes.index("cat 2") < dataset.classes.index("cat 10")
    assert set(dataset.classes) == set(names)
    assert dataset.classes[dataset.test.labels[0]] == "été"


@given(st.lists(st.integers(0, 10**9), max_size=8))
def test_natural_order_sorts_numbers_by_value(numbers: list[int]) -> None:
    names = [f"class{number}x" for number in numbers]
    assert sorted(names, key=natural_order) == [f"class{n}x" for n in sorted(numbers)]


def test_a_16_bit_data_set_keeps_its_levels(tmp_path: Path) -> None:
    for name, level in (("dark", 10_000), ("light", 50_000)):
        place = tmp_path / name
        place.mkdir()
        for number in range(5):
            array = np.full((6, 8), level, np.uint16)
            Image.fromarray(array).save(place / f"{number}.png")
    dataset, _ = opened(tmp_path)
    assert dataset.input_shape == (1, 6, 8)
    assert levels(dataset, "train") == {"dark": {39}, "light": {195}}


# --- tables


def table(place: Path, text: str, encoding: str = "utf-8") -> str:
    fill(place / "images", 10)
    path = place / "table.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def rows(*cells: str) -> str:
    return "".join(f"images/{number:02}.png,{cell}\n" for number, cell in enumerate(cells))


def read(file: str, **keys: Any) -> Dataset:
    return csv_file(ImageOptions(threads=1), file=file, **keys)


def test_a_table_is_split_by_name(tmp_path: Path) -> None:
    dataset = read(table(tmp_path, "path,label\n" + rows(*["cat", "dog"] * 5)))
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) + len(dataset.test) == 10
    assert dataset.class_counts.min() > 0
    assert len(dataset.test)


def test_a_group_is_never_divided(tmp_path: Path) -> None:
    cells = [f"{'cat' if k % 2 else 'dog'},patient {k % 5}" for k in range(10)]
    file = table(tmp_path, "path,label,group\n" + rows(*cells))
    dataset = read(file, test=0.4)
    assert len(dataset.test)
    assert dataset.test.keys is not None
    assert dataset.train.keys is not None
    assert not set(dataset.test.keys.tolist()) & set(dataset.train.keys.tolist())
    assert len(dataset.test) % 2 == 0


def test_what_is_odd_in_a_table_is_told(tmp_path: Path) -> None:
    options = ImageOptions(threads=1)
    splits = ["a,train", "b,train", "a,test"]
    text = "path,label,split\n" + rows(*splits) + "images/00.png,a,test\nimages/05.png,,test\n"
    csv_file(options, file=table(tmp_path, text))
    assert any("1 rows without a label" in note for note in options.notes)
    assert any("1 files of the test split are in the train split" in n for n in options.notes)


def test_measurements_are_no_classes(tmp_path: Path) -> None:
    options = ImageOptions(threads=1)
    floats = [f"0.{k // 2}31" for k in range(10)]
    csv_file(options, file=table(tmp_path, "path,label\n" + rows(*floats)), test=1)
    assert any("look like measurements" in note for note in options.notes)


def test_a_header_that_is_none_is_told_shortly(tmp_path: Path) -> None:
    for text, message in (
        ("label," + ",".join(f"pixel{k}" for k in range(784)) + "\n", "table of pixels"),
        (str([{"path": "a.png", "label": k} for k in range(500)]) + "\n", "looks like JSON"),
        (",".join(f"{'column' * 20}{chr(65 + k)}" for k in range(40)) + "\n", "and 32 more"),
    ):
        with pytest.raises(UserError, match=message) as told:
            read(table(tmp_path, text))
        assert len(str(told.value)) < 600


def test_a_table_with_splits(tmp_path: Path) -> None:
    splits = ["a,train", "b,Train", "b,val", "a,test", "b,test"]
    dataset = read(table(tmp_path, "path,label,split\n" + rows(*splits)))
    assert dataset.validation is not None
    assert [dataset.split(s).labels.tolist() for s in ("train", "validation", "test")] == [
        [0, 1],
        [1],
        [0, 1],
    ]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets(tmp_path: Path, delimiter: str) -> None:
    text = 'where,kind\r\n"images\\00.png",9\r\nimages/01.png, 10\r\n\r\nimages/02.png,9\r\n'
    file = table(tmp_path, text.replace(",", delimiter), "utf-8-sig")
    dataset = read(file, path_column="where", label_column="kind", test=1)
    assert dataset.classes == ("9", "10")
    assert len(dataset.train) + len(dataset.test) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table.csv:1: the header has no column 'path'"),
        ("path,lable\n", r"table.csv:1: .*'label'; did you mean 'lable'"),
        ("path,label\n" + rows("a", "b") + "images/77.png,a\n", r"table.csv:4: there is no file"),
        ("path,label\n" + rows("a") + "\nimages/01.png\n", r"table.csv:4: 1 cells"),
        ("path,label\n" + rows("a", "b") + ",a\n", r"table.csv:4: no path"),
        ("path,label,split\n" + rows("a,train", "b,trian"), r"table.csv:3: the split is 'trian'"),
        ("path,label,split\n" + rows("a,train", "b,test"), r"training has no images of: b"),
        ("path,label\n", "no images to train on"),
    ],
)
def test_mistakes_in_tables_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(table(tmp_path, text))


def test_tables_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        read(table(tmp_path, "path,label\n" + rows("é"), "latin-1"))
    with pytest.raises(UserError, match=r"dataset.file: .*No such file"):
        read(str(tmp_path / "none.csv"))
