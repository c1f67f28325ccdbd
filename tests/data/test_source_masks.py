"""Images and masks of the same names in two folders, and what values and colors of masks mean."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cnnrun.data.dataset import Dataset
from cnnrun.data.identity import identified
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.images.modes import UnreadableError
from cnnrun.data.images.reading import ImageReading
from cnnrun.data.sources.mask_folders import mask_folders
from cnnrun.data.sources.mask_pixels import read_mask
from cnnrun.data.targets import IGNORED
from cnnrun.errors import UserError
from tests.conftest import Command

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]
COLORS = {"#000000": "ground", "#008000": "grass", "#800000": "brick"}


def _pair(images: Path, masks: Path, name: str, value: int, mask: NDArray[np.uint8]) -> None:
    for folder in (images, masks):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(mask.shape, value, np.uint8)).save(images / f"{name}.png")
    drawn = Image.fromarray(mask)
    drawn.putpalette(PALETTE)
    drawn.save(masks / f"{name}.png")


def _mask(value: int) -> NDArray[np.uint8]:
    mask = np.zeros((6, 8), np.uint8)
    mask[value % 6, value % 8] = 1 + value % 2
    return mask


def _fill(root: Path, at: list[str], number: int) -> None:
    """6 pairs, of images that are k all over, from k = 6 `number` on."""
    for k in range(6 * number, 6 * number + 6):
        _pair(root / at[0], root / at[1], f"sub/{k:02}" if k % 2 else f"{k:02}", k, _mask(k))


def _check(dataset: Dataset, split: str, expected: set[int]) -> None:
    part = dataset.split(split)
    values = part.images[torch.arange(len(part))][:, 0, 0, 0].tolist()
    assert set(values) == expected
    for value, mask in zip(values, part.targets.held.numpy(), strict=True):
        assert np.array_equal(mask, _mask(value))


def _read(root: Path, **keys: Any) -> Dataset:
    return mask_folders(ImageOptions(cache="ram"), root=str(root), **keys)


@pytest.mark.parametrize("inside", [True, False])
def test_pairs_in_splits(tmp_path: Path, inside: bool) -> None:
    names = {"train": "train", "validation": "val", "test": "testing"}
    for number, said in enumerate(names.values()):
        at = [f"{said}/{kind}" if inside else f"{kind}/{said}" for kind in ("images", "masks")]
        _fill(tmp_path, at, number)
    dataset = _read(tmp_path, mask_classes=["ground", "brick", "grass"])
    for number, split in enumerate(names):
        _check(dataset, split, set(range(6 * number, 6 * number + 6)))
    assert dataset.classes == ("ground", "brick", "grass")


def test_pairs_alone_are_split_by_their_names(tmp_path: Path) -> None:
    for number in range(5):
        _fill(tmp_path, ["images", "masks"], number)
    before = _read(tmp_path)
    assert before.classes == ("0", "1", "2")
    tested = set(before.test.images[torch.arange(len(before.test))][:, 0, 0, 0].tolist())
    _check(before, "train", set(range(30)) - tested)
    _check(before, "test", tested)
    _fill(tmp_path, ["images", "masks"], 5)
    more = _read(tmp_path)
    assert tested == tested & set(
        more.test.images[torch.arange(len(more.test))][:, 0, 0, 0].tolist()
    )


def test_a_mask_that_changes_changes_the_fingerprint(tmp_path: Path) -> None:
    _fill(tmp_path, ["images", "masks"], 0)
    prints = [identified(_read(tmp_path, test=1)).fingerprint for _ in range(2)]
    Image.fromarray(_mask(3)).save(tmp_path / "masks" / "00.png")
    assert prints[0] == prints[1] != identified(_read(tmp_path, test=1)).fingerprint


def test_masks_with_a_suffix_and_other_folders(tmp_path: Path) -> None:
    _fill(tmp_path, ["imgs", "annotations"], 0)
    for file in list((tmp_path / "annotations").rglob("*.png")):
        file.rename(file.with_name(f"{file.stem}_mask.png"))
    with pytest.raises(UserError) as error:
        _read(tmp_path, images="imgs", masks="annotations")
    assert "6 of 6 images have no mask" in str(error.value)
    assert "dataset.mask_suffix: _mask" in str(error.value)
    keys = {"images": "imgs", "masks": "annotations", "mask_suffix": "_mask"}
    dataset = _read(tmp_path, test=1, **keys)
    assert len(dataset.train) + len(dataset.test) == 6


def test_partners_that_are_missing(tmp_path: Path) -> None:
    _fill(tmp_path, ["images", "masks"], 0)
    (tmp_path / "masks" / "02.png").unlink()
    (tmp_path / "images" / "04.png").unlink()
    with pytest.raises(UserError, match=r"masks: 1 of 5 images have no mask: there is no 02.png"):
        _read(tmp_path)
    options = ImageOptions(cache="ram", on_error="skip")
    dataset = mask_folders(options, root=str(tmp_path), test=1)
    assert len(dataset.train) + len(dataset.test) == 4
    assert any("1 images without a mask are left out" in note for note in options.notes)
    assert any("1 masks without an image are not used" in note for note in options.notes)


def test_folders_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with pytest.raises(UserError, match="has no folder 'images'; did you mean 'image'"):
        _read(tmp_path)
    (tmp_path / "image").rename(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match=r"no folder 'masks' next to 'images'.*there are labels"):
        _read(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "masks")
    for name in ("train", "val"):
        (tmp_path / "images" / name).mkdir()
    (tmp_path / "masks" / "train").mkdir()
    with pytest.raises(UserError, match="masks has no folder for the validation split"):
        _read(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        _read(tmp_path / "nowhere")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    _fill(tmp_path, ["images", "masks"], 0)
    Image.new("L", (8, 6)).save(tmp_path / "images" / "00.bmp")
    with pytest.raises(UserError, match=r"00\.png and .*00\.bmp differ only in their endings"):
        _read(tmp_path)


def _file(image: Image.Image, kind: str = "PNG", **keys: Any) -> bytes:
    held = BytesIO()
    image.save(held, kind, **keys)
    return held.getvalue()


def test_colors_of_palettes_and_of_pixels_are_classes() -> None:
    mask = np.array([[0, 1, 2], [2, 2, 1]], np.uint8)
    palette = Image.fromarray(mask)
    palette.putpalette(PALETTE)
    expected = np.array([[0, 2, 1], [1, 1, 2]])
    for image in (palette, palette.convert("RGB"), palette.convert("RGBA")):
        assert np.array_equal(read_mask(_file(image), COLORS), expected)
    others = read_mask(_file(palette), {"#800000": "brick"})
    assert np.array_equal(others, np.where(mask == 1, 0, IGNORED))
    assert np.array_equal(read_mask(_file(palette), None), mask)
    wide = Image.fromarray(mask.astype(np.uint16))
    assert np.array_equal(read_mask(_file(wide), {2: "grass"}), np.where(mask == 2, 0, IGNORED))


@pytest.mark.parametrize(
    ("content", "classes", "told"),
    [
        (_file(Image.new("RGB", (3, 2))), None, "a mask of mode RGB"),
        (_file(Image.new("L", (3, 2)), "JPEG"), ["a"], "as JPEG"),
        (_file(Image.new("L", (3, 2), 7)), ["a", "b"], "the value 7, but mask_classes names 2"),
        (_file(Image.fromarray(np.full((2, 3), 900, np.uint16))), None, "with the value 900"),
        (_file(Image.fromarray(np.full((2, 3), -3, np.int32)), "TIFF"), None, "with the value -3"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 3 2\n", None, "not an image"),
        (_file(Image.new("L", (64, 64)))[:-30], None, "damaged"),
        (b"", None, "empty"),
    ],
)
def test_what_is_no_mask(content: bytes, classes: Any, told: str) -> None:
    with pytest.raises(UnreadableError, match=told):
        read_mask(content, classes)


def test_a_mask_is_turned_as_its_image(tmp_path: Path) -> None:
    """By its own EXIF orientation, as a program that edits a phone's images writes it."""
    turned = Image.Exif()
    turned[0x0112] = 6
    mask = np.zeros((6, 8), np.uint8)
    mask[0, 3:] = 1
    upright = np.rot90(mask, -1)
    assert np.array_equal(read_mask(_file(Image.fromarray(mask), exif=turned), None), upright)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for k in range(6):
        Image.fromarray(mask * 200).save(tmp_path / f"images/{k}.png", exif=turned)
        Image.fromarray(mask).save(tmp_path / f"masks/{k}.png", exif=turned)
    dataset = _read(tmp_path, test=1)
    image = dataset.train.images[torch.tensor([0])][0, 0]
    assert torch.equal(image == 200, dataset.train.targets.held[0] == 1)
    assert np.array_equal(dataset.train.targets.held[0].numpy(), upright)
    Image.fromarray(mask).save(tmp_path / "masks/0.png")
    with pytest.raises(UserError, match="is one of them rotated, as by an EXIF orientation"):
        _read(tmp_path, test=1)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("[ground, brick, grass]", ["ground", "brick", "grass"]),
        ("{0: ground, 2: grass}", ["ground", "grass"]),
        ("{'#000000': ground, '#800000': brick}", ["ground", "brick"]),
    ],
)
def test_classes_named_in_a_config(
    cnnrun: Command, tmp_path: Path, classes: str, names: list[str]
) -> None:
    for number in range(2):
        _fill(tmp_path, ["images", "masks"], number)
    (tmp_path / "masks.yaml").write_text(
        "task: segment\ndevice: cpu\nmodel: {name: unet, encoder: {name: cnn, channels: [4]}}\n"
        "training: {epochs: 1, draw: false}\n"
        f"dataset: {{name: mask_folders, root: ., size: 8, mask_classes: {classes}}}\n"
    )
    started = cnnrun("train", "masks.yaml", "-q")
    assert started.code == 0, started.err
    run = started.out.strip()
    resumed = cnnrun("train", "--resume", run, "training.epochs=2", "-q")
    assert resumed.code == 0, resumed.err
    ended = cnnrun("eval", run, "--json")
    assert [row["class"] for row in json.loads(ended.out)["per_class"]] == names


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("{0: ground, 77: road}", "all pixels of the training masks are of one class, 'ground'"),
        ("{77: road, 78: sea}", "no pixel of the training masks is of any class (road, sea)"),
        ("{'#123456': a, '#654321': b}", "no pixel of the training masks is of any class (a, b)"),
    ],
)
def test_masks_of_one_answer_are_refused(
    cnnrun: Command, tmp_path: Path, classes: str, told: str
) -> None:
    for number in range(2):
        _fill(tmp_path, ["images", "masks"], number)
    (tmp_path / "masks.yaml").write_text(
        "task: segment\nmodel: {name: unet, encoder: {name: cnn, channels: [4]}}\n"
        f"dataset: {{name: mask_folders, root: ., size: 8, mask_classes: {classes}}}\n"
    )
    ended = cnnrun("train", "masks.yaml")
    assert ended.code == 2
    assert told in ended.err


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = _file(Image.new("L", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableError, match="decompression bombs"):
        read_mask(content, None)


def test_a_bad_mask_is_named_with_its_file(tmp_path: Path) -> None:
    _fill(tmp_path, ["images", "masks"], 0)
    with pytest.raises(UserError, match=r"masks.*\.png: a mask with the value 2, but"):
        _read(tmp_path, mask_classes=["ground", "brick"])
    with pytest.raises(UserError, match="two classes are called 'a'"):
        _read(tmp_path, mask_classes=["a", "b", "a"])


def test_gaps_between_values_are_told(tmp_path: Path) -> None:
    for k in range(6):
        _pair(tmp_path / "images", tmp_path / "masks", f"{k}", k, _mask(k))
        Image.fromarray(_mask(k) * 100).save(tmp_path / "masks" / f"{k}.png")
    options = ImageOptions(cache="ram")
    mask_folders(options, root=str(tmp_path), test=1)
    assert any("the masks have only the values 0, 100, 200" in note for note in options.notes)


@pytest.mark.parametrize(
    ("classes", "told"),
    [("{300: a}", "300"), ("{-1: a}", "-1"), ("{'#00': a}", "#00"), ("[]", "mask_classes")],
)
def test_absurd_classes_are_refused_in_the_config(
    cnnrun: Command, tmp_path: Path, classes: str, told: str
) -> None:
    (tmp_path / "masks.yaml").write_text(
        "task: segment\nmodel: {name: unet, encoder: cnn}\n"
        f"dataset: {{name: mask_folders, root: x, mask_classes: {classes}}}\n"
    )
    ended = cnnrun("check", "masks.yaml")
    assert ended.code == 2
    assert told in ended.err
    assert "masks.yaml:3" in ended.err


def test_pairs_are_trained_on_and_resumed(
    tmp_path: Path, cnnrun: Command, killed_and_resumed: Any
) -> None:
    for number in range(4):
        _fill(tmp_path, ["images", "masks"], number)
    (tmp_path / "masks.yaml").write_text(
        "task: segment\ndevice: cpu\ntraining: {epochs: 2, draw: false}\n"
        "model: {name: unet, encoder: {name: cnn, channels: [4]}}\n"
        "dataset: {name: mask_folders, root: ., batch_size: 6, size: 8, augment: [horizontal_flip]}"
    )
    whole, _ = killed_and_resumed(3, "masks.yaml")
    assert cnnrun("eval", whole).code == 0
    for mask, told in (
        (np.eye(6, 8, dtype=np.uint8) + np.eye(6, 8, 1, dtype=np.uint8) * 2, "pixels instead of"),
        (np.eye(6, 8, dtype=np.uint8), "the data now have 2 (0, 1)"),
    ):
        for file in (tmp_path / "masks").rglob("*.png"):
            Image.fromarray(mask).save(file)
        changed = cnnrun("train", "--resume", whole, "training.epochs=3")
        assert changed.code == 1
        assert told in changed.err
    said = cnnrun("eval", whole).err
    assert "images of the other splits, or labels, have changed" in said


@pytest.mark.parametrize("page", [None, 1])
def test_a_mask_of_several_pages_is_read_at_that_of_its_image(
    tmp_path: Path, page: int | None
) -> None:
    """Pages of images and masks belong together; a mask of one page belongs to any of them."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(6):
        # Pages of different sizes: each is compared with its own.
        pages = [np.full((6 + p, 8), p, np.uint8) for p in range(3)]
        drawn = [Image.fromarray(each) for each in pages]
        drawn[0].save(tmp_path / f"images/{k}.tif", save_all=True, append_images=drawn[1:])
        if k:
            drawn[0].save(tmp_path / f"masks/{k}.tif", save_all=True, append_images=drawn[1:])
        else:
            drawn[page or 0].save(tmp_path / f"masks/{k}.png")
    options = ImageOptions(cache="ram", reading=ImageReading(page=page))
    dataset = mask_folders(options, root=str(tmp_path), mask_classes=["a", "b", "c"], test=1)
    assert set(dataset.train.targets.held.unique().tolist()) == {page or 0}
    assert any("5 masks hold several pages" in note for note in options.notes) == (page is None)


@pytest.mark.parametrize(
    ("orientation", "height", "tagged", "noted"),
    [
        (1, 8, "image", False),
        (6, 8, "image", True),  # square: the size doesn't say
        (3, 6, "image", True),  # upside down: it never does
        (6, 6, "image", False),  # the mask has the size of the upright image
        (6, 8, "both", False),
        (3, 6, "mask", True),
    ],
)
def test_an_orientation_that_may_not_be_meant_for_the_mask_is_said(
    tmp_path: Path, orientation: int, height: int, tagged: str, noted: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    mask = np.arange(height * 8, dtype=np.uint8).reshape(height, 8) % 3
    stored = np.ascontiguousarray(np.rot90(mask)) if (orientation, height) == (6, 6) else mask
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(4):
        both = tagged == "both"
        more = {"exif": exif} if tagged == "image" or both else {}
        Image.fromarray(stored).save(tmp_path / f"images/{k}.jpg", **more)
        more = {"exif": exif} if tagged == "mask" or both else {}
        Image.fromarray(mask).save(tmp_path / f"masks/{k}.png", **more)
    options = ImageOptions(cache="ram")
    mask_folders(options, root=str(tmp_path), mask_classes=["a", "b", "c"], test=1)
    assert any("of 4 pairs, the EXIF orientation" in note for note in options.notes) == noted
