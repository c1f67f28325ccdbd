"""Data sets of torchvision: small copies of their files, read here and by torchvision's classes."""

from __future__ import annotations

import bz2
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets as theirs

from cnnrun.data.dataset import Dataset, Split
from cnnrun.data.images.decoding import ImageOptions
from cnnrun.data.sources import torchvision_arrays as arrays
from cnnrun.data.sources.imagenet import imagenet
from cnnrun.data.sources.pcam import pcam
from cnnrun.errors import UserError
from cnnrun.registry import datasets

_RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small copies have other checksums than the real files."""
    for module in ("svhn", "stl10", "semeion", "flowers102", "mnist", "places365", "fer2013"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity",
            lambda file, md5=None: Path(file).is_file(),  # noqa: ARG005
        )


def _bytes(*shape: int) -> NDArray[np.uint8]:
    return _RANDOM.integers(0, 256, shape, dtype=np.uint8)


def _contents(split: Split) -> list[tuple[bytes, int]]:
    images = split.images[torch.arange(len(split))]
    return [(bytes(i.numpy()), k) for i, k in zip(images, split.labels.tolist(), strict=True)]


def _same(split: Split, *others: Any) -> None:
    """The split holds just what torchvision's objects hold, whatever the order."""
    expected = []
    for other in others:
        for image, label in other:
            pixels = np.asarray(image)
            pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            expected.append((pixels.tobytes(), int(label)))
    assert len(expected) > 2
    assert sorted(_contents(split)) == sorted(expected)


def _idx(array: NDArray[Any], kind: int) -> bytes:
    head = struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("split", ["byclass", "balanced", "letters", "digits"])
def test_emnist_stands_upright(tmp_path: Path, split: Any) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    classes = {"byclass": 62, "balanced": 47, "letters": 26, "digits": 10}[split]
    first = 1 if split == "letters" else 0
    for part in ("train", "test"):
        (raw / f"emnist-{split}-{part}-images-idx3-ubyte").write_bytes(_idx(_bytes(70, 28, 28), 8))
        labels = (np.arange(70) % classes + first).astype(np.uint8)
        (raw / f"emnist-{split}-{part}-labels-idx1-ubyte").write_bytes(_idx(labels, 8))
    dataset = arrays.emnist(split=split, root=str(tmp_path), download=False)
    their = theirs.EMNIST(tmp_path, split, train=False)
    assert torch.equal(dataset.test.images[torch.arange(70)][:, 0], their.data.mT)
    named = [their.classes[k] for k in their.targets.tolist()]
    assert [dataset.classes[k] for k in dataset.test.labels.tolist()] == named


def test_qmnist(tmp_path: Path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(_idx(_bytes(12, 28, 28), 8))
        labels = np.stack([np.arange(12) % 10, *(np.arange(12),) * 7], 1).astype(np.int32)
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(_idx(labels, 12))
    dataset = arrays.qmnist(root=str(tmp_path), download=False)
    _same(dataset.train, theirs.QMNIST(tmp_path, what="train"))
    _same(dataset.test, theirs.QMNIST(tmp_path, what="test"))


def test_usps(tmp_path: Path) -> None:
    for name in ("usps.bz2", "usps.t.bz2"):
        values = _RANDOM.random((11, 256)) * 2 - 1
        lines = [
            " ".join([str(i % 10 + 1), *(f"{j + 1}:{v:.4f}" for j, v in enumerate(row))])
            for i, row in enumerate(values)
        ]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    dataset = arrays.usps(root=str(tmp_path), download=False)
    _same(dataset.train, theirs.USPS(tmp_path, train=True))
    _same(dataset.test, theirs.USPS(tmp_path, train=False))


@pytest.mark.parametrize("extra", [False, True])
def test_svhn(tmp_path: Path, extra: bool) -> None:
    for name in ("train", "test", "extra"):
        content = {"X": _bytes(32, 32, 3, 12), "y": np.arange(12)[:, None] % 10 + 1}
        scipy.io.savemat(tmp_path / f"{name}_32x32.mat", content)
    dataset = arrays.svhn(extra=extra, root=str(tmp_path), download=False)
    parts = ["train", "extra"] if extra else ["train"]
    _same(dataset.train, *(theirs.SVHN(tmp_path, split=part) for part in parts))
    _same(dataset.test, theirs.SVHN(tmp_path, split="test"))


def test_stl10_needs_no_unlabelled_images(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / f"{name}_X.bin").write_bytes(_bytes(10, 3, 96, 96).tobytes())
        (folder / f"{name}_y.bin").write_bytes(bytes(range(1, 11)))
    dataset = arrays.stl10(root=str(tmp_path), download=False)
    (folder / "unlabeled_X.bin").touch()
    (folder / "class_names.txt").write_text("\n".join(dataset.classes))
    _same(dataset.train, theirs.STL10(tmp_path, split="train"))
    _same(dataset.test, theirs.STL10(tmp_path, split="test"))
    (folder / "test_y.bin").write_bytes(bytes(5))
    with pytest.raises(UserError, match=r"test_X.bin does not hold the 5 images"):
        arrays.stl10(root=str(tmp_path), download=False)


def test_semeion_is_split_in_a_fixed_stratified_way(tmp_path: Path) -> None:
    rows = np.concatenate([_bytes(100, 256) % 2, np.eye(10, dtype=np.uint8).repeat(10, 0)], 1)
    np.savetxt(tmp_path / "semeion.data", rows, fmt="%.4f")
    one, again = (arrays.semeion(root=str(tmp_path), download=False) for _ in range(2))
    assert torch.bincount(one.test.labels).tolist() == [2] * 10
    assert torch.equal(one.test.images[:], again.test.images[:])  # type: ignore[index]
    everything = Split(
        torch.cat([one.train.images[:], one.test.images[:]]),  # type: ignore[index]
        torch.cat([one.train.labels, one.test.labels]),
    )
    _same(everything, theirs.SEMEION(tmp_path, download=False))


def test_fer2013(tmp_path: Path) -> None:
    folder = tmp_path / "fer2013"
    folder.mkdir()
    rows = [
        f"{i % 7},{' '.join(map(str, _bytes(48 * 48)))},{usage}"
        for i, usage in enumerate(["Training"] * 7 + ["PublicTest"] * 3 + ["PrivateTest"] * 3)
    ]
    (folder / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    dataset = arrays.fer2013(root=str(tmp_path))
    assert (len(dataset.train), len(dataset.test)) == (7, 6)
    _same(dataset.train, theirs.FER2013(tmp_path, split="train"))


def test_pcam_is_read_as_needed(tmp_path: Path) -> None:
    import h5py

    folder = tmp_path / "pcam"
    folder.mkdir()
    for part in ("train", "test", "valid"):
        name = f"camelyonpatch_level_2_split_{part}"
        with h5py.File(folder / f"{name}_x.h5", "w") as file:
            file["x"] = _bytes(8, 96, 96, 3)
        with h5py.File(folder / f"{name}_y.h5", "w") as file:
            file["y"] = (np.arange(8) % 2).reshape(8, 1, 1, 1).astype(np.uint8)
    dataset = pcam(root=str(tmp_path), download=False)
    assert not isinstance(dataset.train.images, torch.Tensor)
    _same(dataset.train, theirs.PCAM(tmp_path, split="train"))
    _same(dataset.split("validation"), theirs.PCAM(tmp_path, split="val"))
    (folder / "camelyonpatch_level_2_split_test_x.h5").unlink()
    (folder / "camelyonpatch_level_2_split_test_x.h5").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"test_x.h5: can't be read"):
        pcam(root=str(tmp_path), download=False)


def _save(file: Path, seed: int) -> None:
    """An image of its own for each seed; PNG content keeps the pixels, whatever the ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    with file.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "PNG")


def _write_flowers102(root: Path) -> None:
    folder = root / "flowers-102"
    for i in range(1, 13):
        _save(folder / "jpg" / f"image_{i:05d}.jpg", i)
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.arange(12) * 9 + 1})
    ids = np.arange(12) + 1
    splits = {"trnid": ids[:4], "valid": ids[4:8], "tstid": ids[8:]}
    scipy.io.savemat(folder / "setid.mat", splits)


def _write_oxford_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for s, name in enumerate(("trainval", "test")):
        breeds = [f"{breed}_{s}{i}" for breed in ("Abyssinian", "great_dane") for i in range(3)]
        rows = [f"{b} {1 if b[0] == 'A' else 2} 1 1" for b in breeds]
        (folder / "annotations" / f"{name}.txt").write_text("\n".join(rows))
        for i, breed in enumerate(breeds):
            _save(folder / "images" / f"{breed}.jpg", 10 * s + i)


def _write_food101(root: Path) -> None:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for s, name in enumerate(("train", "test")):
        listed = {k: [f"{k}/{s}{i}" for i in range(3)] for k in ("waffles", "apple_pie")}
        (folder / "meta" / f"{name}.json").write_text(json.dumps(listed))
        for i, file in enumerate(listed["waffles"] + listed["apple_pie"]):
            _save(folder / "images" / f"{file}.jpg", 10 * s + i)


def _write_gtsrb(root: Path) -> None:
    folder = root / "gtsrb"
    rows = ["Filename;Width;ClassId"]
    for i in range(43):
        _save(folder / "GTSRB" / "Training" / f"{i:05d}" / "00000_00000.ppm", i)
        _save(folder / "GTSRB" / "Final_Test" / "Images" / f"{i:05d}.ppm", 100 + i)
        rows.append(f"{i:05d}.ppm;7;{(i * 5) % 43}")
    (folder / "GT-final_test.csv").write_text("\n".join(rows))


def _write_classes(folder: Path, classes: list[str], ending: str, seed: int = 0) -> None:
    for k, name in enumerate(classes):
        for i in range(5):
            _save(folder / name / f"{i:04d}.{ending}", seed + 10 * k + i)


def _write_eurosat(root: Path) -> None:
    _write_classes(root / "eurosat" / "2750", ["Forest", "AnnualCrop"], "jpg")


def _write_imagenette(root: Path) -> None:
    wnids = ["n01440764", "n02102040"]
    _write_classes(root / "imagenette2-160" / "train", wnids, "jpeg")
    _write_classes(root / "imagenette2-160" / "val", wnids, "jpeg", seed=50)


def _write_dtd(root: Path) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for s, name in enumerate(("train", "val", "test")):
        files = [f"{k}/{k}_{s}{i}.jpg" for k in ("woven", "banded") for i in range(2)]
        (folder / "labels" / f"{name}1.txt").write_text("\n".join(files))
        for i, file in enumerate(files):
            _save(folder / "images" / file, 10 * s + i)


def _write_stanford_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array(["Acura TL", "BMW M3"], dtype=object)
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    for s, (part, table) in enumerate(
        (("cars_train", "devkit/cars_train_annos"), ("cars_test", "cars_test_annos_withlabels"))
    ):
        rows = [(i % 2 + 1, f"{i:05d}.jpg") for i in range(4)]
        annotations = np.array(rows, dtype=[("class", "u1"), ("fname", "O")])
        scipy.io.savemat(folder / f"{table}.mat", {"annotations": annotations})
        for i in range(4):
            _save(folder / part / f"{i:05d}.jpg", 10 * s + i)


def _write_fgvc_aircraft(root: Path) -> None:
    folder = root / "fgvc-aircraft-2013b" / "data"
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("747-200\nDR-400\nFalcon 900")
    for s, name in enumerate(("train", "val", "test")):
        kinds = ("747-200", "DR-400", "Falcon 900")
        rows = [f"{s}00{i} {kind}" for i, kind in enumerate(kinds)]
        (folder / f"images_variant_{name}.txt").write_text("\n".join(rows))
        for i in range(3):
            _save(folder / "images" / f"{s}00{i}.jpg", 10 * s + i)


def _write_sun397(root: Path) -> None:
    folder = root / "SUN397"
    folder.mkdir()
    (folder / "ClassName.txt").write_text("/a/abbey\n/a/apse/indoor\n")
    for i in range(5):
        _save(folder / "a" / "abbey" / f"sun_{i}.jpg", i)
        _save(folder / "a" / "apse" / "indoor" / f"sun_{i}.jpg", 10 + i)


def _write_country211(root: Path) -> None:
    for s, name in enumerate(("train", "valid", "test")):
        _write_classes(root / "country211" / name, ["AD", "ZW"], "jpg", seed=50 * s)


def _write_rendered_sst2(root: Path) -> None:
    for s, name in enumerate(("train", "valid", "test")):
        _write_classes(root / "rendered-sst2" / name, ["negative", "positive"], "png", 50 * s)


def _write_places365(root: Path) -> None:
    names = [f"/a/place{k}" for k in range(365)]
    (root / "categories_places365.txt").write_text(
        "\n".join(f"{name} {k}" for k, name in enumerate(names))
    )
    rows = [f"/a/place{k}/{i}.jpg {k}" for k in (0, 7) for i in range(3)]
    (root / "places365_train_standard.txt").write_text("\n".join(rows))
    for i, row in enumerate(rows):
        _save(root / f"data_256_standard{row.split()[0]}", i)
    rows = [f"Places365_val_{i}.jpg {i}" for i in range(4)]
    (root / "places365_val.txt").write_text("\n".join(rows))
    for i, row in enumerate(rows):
        _save(root / "val_256" / row.split()[0], 50 + i)


def _write_inaturalist(root: Path) -> None:
    kinds = ["00000_Animalia_A_B_C_D_E_e", "00001_Plantae_A_B_C_D_E_f"]
    for s, name in enumerate(("2021_train_mini", "2021_valid")):
        _write_classes(root / name, kinds, "jpg", seed=50 * s)


def _write_caltech101(root: Path) -> None:
    folder = root / "caltech101" / "101_ObjectCategories"
    for k, name in enumerate(("BACKGROUND_Google", "crab", "Faces")):
        for i in range(1, 6):
            _save(folder / name / f"image_{i:04d}.jpg", 10 * k + i)


def _write_caltech256(root: Path) -> None:
    folder = root / "caltech256" / "256_ObjectCategories"
    for k, name in enumerate(("001.ak47", "002.american-flag")):
        for i in range(1, 6):
            _save(folder / name / f"{k + 1:03d}_{i:04d}.jpg", 10 * k + i)


_Their = dict[str, Callable[[Path], Any]]


def _split_by_name(kind: Any, parts: dict[str, str], **keys: Any) -> _Their:
    return {ours: partial(kind, split=name, **keys) for ours, name in parts.items()}


_TWO = {"train": "train", "test": "test"}
_THREE = {"train": "train", "validation": "val", "test": "test"}
_FILE_SETS: dict[str, tuple[Callable[[Path], None], _Their, list[str]]] = {
    "flowers102": (
        _write_flowers102,
        _split_by_name(theirs.Flowers102, _THREE),
        ["pink primrose"],
    ),
    "oxford_pets": (
        _write_oxford_pets,
        _split_by_name(theirs.OxfordIIITPet, {"train": "trainval", "test": "test"}),
        ["Abyssinian", "Great Dane"],
    ),
    "food101": (
        _write_food101,
        _split_by_name(theirs.Food101, _TWO),
        ["apple_pie", "waffles"],
    ),
    "gtsrb": (
        _write_gtsrb,
        _split_by_name(theirs.GTSRB, _TWO),
        ["speed limit 20"],
    ),
    "eurosat": (_write_eurosat, {"all": theirs.EuroSAT}, ["AnnualCrop", "Forest"]),
    "imagenette": (
        _write_imagenette,
        _split_by_name(theirs.Imagenette, {"train": "train", "test": "val"}, size="160px"),
        ["tench", "English springer"],
    ),
    "dtd": (_write_dtd, _split_by_name(theirs.DTD, _THREE), ["banded", "woven"]),
    "stanford_cars": (
        _write_stanford_cars,
        _split_by_name(theirs.StanfordCars, _TWO),
        ["Acura TL", "BMW M3"],
    ),
    "fgvc_aircraft": (
        _write_fgvc_aircraft,
        _split_by_name(theirs.FGVCAircraft, _THREE),
        ["747-200", "DR-400", "Falcon 900"],
    ),
    "sun397": (_write_sun397, {"all": theirs.SUN397}, ["abbey", "apse/indoor"]),
    "country211": (
        _write_country211,
        _split_by_name(theirs.Country211, {**_THREE, "validation": "valid"}),
        ["AD", "ZW"],
    ),
    "rendered_sst2": (
        _write_rendered_sst2,
        _split_by_name(theirs.RenderedSST2, _THREE),
        ["negative", "positive"],
    ),
    "places365": (
        _write_places365,
        _split_by_name(theirs.Places365, {"train": "train-standard", "test": "val"}, small=True),
        ["place0"],
    ),
    "inaturalist": (
        _write_inaturalist,
        {
            "train": lambda root: theirs.INaturalist(root, "2021_train_mini"),
            "test": lambda root: theirs.INaturalist(root, "2021_valid"),
        },
        ["00000_Animalia_A_B_C_D_E_e", "00001_Plantae_A_B_C_D_E_f"],
    ),
    "caltech101": (_write_caltech101, {"all": theirs.Caltech101}, ["Faces", "crab"]),
    "caltech256": (_write_caltech256, {"all": theirs.Caltech256}, ["ak47", "american-flag"]),
}


def _build(name: str, root: Path, **keys: Any) -> Dataset:
    images = ImageOptions(size=(6, 7), channels=3, cache_dir=str(root / "cache"))
    dataset: Dataset = datasets.get(name).factory(images, root=str(root), **keys)
    return dataset


@pytest.mark.parametrize("name", _FILE_SETS)
def test_sets_of_files_are_those_of_torchvision(tmp_path: Path, name: str) -> None:
    write, their, classes = _FILE_SETS[name]
    write(tmp_path)
    dataset = _build(name, tmp_path, download=False)
    assert list(dataset.classes[: len(classes)]) == classes
    assert not isinstance(dataset.train.images, torch.Tensor)
    if "all" in their:
        both = [dataset.train, dataset.test]
        everything = Split(
            torch.cat([s.images[torch.arange(len(s))] for s in both]),
            torch.cat([s.labels for s in both]),
        )
        assert torch.bincount(dataset.test.labels).tolist() == [1, 1]
        _same(everything, their["all"](tmp_path))
        again = _build(name, tmp_path, download=False)
        assert _contents(again.test) == _contents(dataset.test)
    else:
        for split, other in their.items():
            _same(dataset.split(split), other(tmp_path))
        assert (dataset.validation is not None) == ("validation" in their)


@pytest.mark.parametrize("name", [*_FILE_SETS, "emnist", "qmnist", "usps", "svhn", "stl10", "pcam"])
def test_absent_files_are_said_once_and_leave_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"root": str(tmp_path / "data")}
    entry = datasets.get(name)
    given = {"options": ImageOptions()} if entry.given else {}
    with pytest.raises(UserError, match="put these files into"):
        entry.factory(**given, **keys, download=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    for function in ("urlopen", "Request"):
        monkeypatch.setattr(f"urllib.request.{function}", refuse)
    with pytest.raises(UserError, match="put these files into") as raised:
        entry.factory(**given, **keys, download=True)
    assert "Traceback" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_a_fetched_set_is_moved_into_place_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, download_root: str, **_: Any) -> None:
        assert url.startswith("http")
        _write_eurosat(Path(download_root).parent)

    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", fetch)
    dataset = _build("eurosat", tmp_path / "data")
    assert len(dataset.train) == 8
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"eurosat", "cache"}
    assert len(_build("eurosat", tmp_path / "data", download=False).test) == 2


def test_a_damaged_listing_is_named(tmp_path: Path) -> None:
    _write_food101(tmp_path)
    (tmp_path / "food-101" / "meta" / "test.json").write_text("{")
    with pytest.raises(UserError, match=r"Food101 can't be read .*food-101/meta"):
        _build("food101", tmp_path)


def _imagenet(root: Path) -> Dataset:
    images = ImageOptions(size=(6, 7), channels=3, cache_dir=str(root / "cache"))
    return imagenet(images, root=str(root))


def test_imagenet_is_plain_class_folders(tmp_path: Path) -> None:
    wnids = ["n01440764", "n01443537"]
    _write_classes(tmp_path / "train", wnids, "JPEG")
    _write_classes(tmp_path / "val", wnids[:1], "JPEG", seed=50)
    _save(tmp_path / "test" / "ILSVRC2012_test_00000001.JPEG", 9)
    dataset = _imagenet(tmp_path)
    assert dataset.classes == tuple(wnids)
    assert (dataset.class_counts.tolist(), dataset.validation) == ([5, 5], None)
    _same(dataset.train, theirs.ImageFolder(tmp_path / "train"))
    _same(dataset.test, theirs.ImageFolder(tmp_path / "val"))


def test_imagenet_without_class_folders_is_told_the_form(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*train; unpack .*<root>/val/<class>"):
        _imagenet(tmp_path)
    _write_classes(tmp_path / "train", ["n01440764"], "JPEG")
    _save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG", 1)
    with pytest.raises(UserError, match="val has no class folders; sort its images into <root>"):
        _imagenet(tmp_path)
