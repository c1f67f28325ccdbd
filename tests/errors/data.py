"""Errors about data."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.errors import Case


def table(content: str | bytes) -> Callable[[Path], object]:
    """`images/table.csv` holds this."""
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / "images" / "table.csv").write_bytes(raw)


def moved(**moves: str) -> Callable[[Path], object]:
    """Folders below `images` have other places."""

    def move(folder: Path) -> None:
        for old, new in moves.items():
            target = folder / "images" / new
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "images" / old, target)

    return move


def item(body: str, before: str = "") -> Callable[[Path], object]:
    """`mine.py` has a data set of 20 items whose item is this."""
    return lambda folder: (folder / "mine.py").write_text(
        f"import torch\nfrom torch.utils.data import Dataset\n{before}\n\n"
        "class Mine(Dataset):\n    def __init__(self, train):\n        pass\n\n"
        "    def __len__(self):\n        return 20\n\n"
        f"    def __getitem__(self, i):\n        return {body}\n\n\n"
        "class Empty(Mine):\n    def __len__(self):\n        return 0\n\n\n"
        "class Other:\n    pass\n"
    )


OWN = "check x.yaml 'dataset={name: own, target: \"mine.py:Mine\", validation: 4}'"
CSV = "check x.yaml 'dataset={name: csv, file: images/table.csv, cache_dir: cache}'"
GRAY = "torch.zeros(1, 8, 8, dtype=torch.uint8)"


class _Touch:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("pwned"),)


def _cifar(content: object) -> Callable[[Path], object]:
    """All files of CIFAR-10 hold this."""

    def write(folder: Path) -> None:
        (folder / "c" / "cifar-10-batches-py").mkdir(parents=True)
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
            (folder / "c" / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(content))

    return write


def _no_mnist(folder: Path) -> None:
    (folder / "m" / "MNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / "m" / "MNIST" / "raw" / f"{part}-{kind}-ubyte").write_bytes(bytes(99))


def _half_file(folder: Path) -> None:
    file = folder / "images" / "a" / "0.png"
    file.write_bytes(file.read_bytes()[:44])


def _no_image(folder: Path) -> None:
    for file in (folder / "images").rglob("*.png"):
        file.write_text("text")


FOLDERS = [
    Case("dataset.root: there is no folder … (paths are from …)",
         "The folder does not exist.",
         "Check the path; it is relative to the current directory.",
         "check p.yaml dataset.root=nowhere", code=1),
    Case("there are no images in …; expected",
         "The class folders are empty, or hold other files.",
         "Add images, or remove the folders.",
         "check p.yaml", code=1,
         files=lambda f: [p.unlink() for p in (f / "images").rglob("*.png")]),
    Case("…, but no folder `train`",
         "There is only a `val` or `test` folder.",
         "Name the folder of training images `train`.",
         "check p.yaml", code=1,
         files=moved(a="val/a", b="val/b")),
    Case("training and train are both train",
         "Two folders are names of the same split.",
         "Remove or rename one of them.",
         "check p.yaml", code=1, files=moved(a="train/a", b="training/b")),
    Case("0.png: …",
         "A file can't be decoded: it is truncated, empty, or not an image.",
         "Replace it, or skip such files with `dataset.on_error: skip`.",
         "check p.yaml", code=1,
         files=_half_file),
    Case("no file is an image that can be read",
         "Every file is damaged or not an image.",
         "Open one of them in an image viewer.",
         "check p.yaml dataset.on_error=skip", code=1,
         files=_no_image),
    Case("set dataset.size to resize them all",
         "The images have different sizes, and a batch needs one size.",
         "Set `dataset.size`.",
         "check p.yaml", code=1,
         files=lambda f: shutil.copy(f / "big.png", f / "images" / "a" / "big.png")),
    Case("validation takes … of … training images; none is left",
         "`dataset.validation` leaves no training images. It is a number of images, or a fraction "
         "below 1.",
         "Use a smaller value.",
         "check x.yaml dataset.validation=60"),
    Case("fold: this data set comes with a validation split; folds would ignore it",
         "Folds are parts of the training images, but this data set has its own validation split.",
         "Leave `fold` out, or merge the folders.",
         "check p.yaml dataset.fold=1/2", files=lambda f: (
             moved(a="train/a", b="train/b")(f), shutil.copytree(
                 f / "images/train", f / "images/val"), shutil.copytree(
                 f / "images/train", f / "images/test"))),
    Case("fold 9/9: 8 training images are too few for 9 folds",
         "There are fewer images than folds, or there is no such fold.",
         "Use fewer folds, such as `1/5` to `5/5`.",
         "check x.yaml dataset.fold=9/9 dataset.limit=8"),
    Case("the … split has the label …, but there are … classes",
         "A label is outside the range of the classes.",
         "Correct the data set: labels are 0 to K - 1.",
         "check x.yaml plugins=[mine.py] "
         "'dataset={name: wrong}'", files=lambda f: (f / "mine.py").write_text(
             "import torch\nfrom cnnrun.data.dataset import Dataset, Split\n"
             "from cnnrun.registry import datasets\n\n\n@datasets.register('wrong')\n"
             "def wrong():\n    '''Wrong labels.'''\n    split = Split(torch.zeros(9, 1, 8, 8, "
             "dtype=torch.uint8), torch.arange(9))\n"
             "    return Dataset(('a', 'b'), split, split)\n")),
    Case("dataset.normalize: mean has … numbers, but the images have … channel",
         "`mean` and `std` need one number per channel.",
         "Write one number for each channel.",
         "check x.yaml 'dataset.normalize={mean: [0, 0], std: [1, 1]}'"),
    Case("min: 2 is larger than max: 1",
         "The range is reversed.",
         "Swap the two numbers.",
         "check x.yaml 'dataset.augment=[{name: scale, min: 2, max: 1}]'"),
    Case("is larger than …; write the smaller one first",
         "The range is reversed.",
         "Swap the two numbers.",
         "check x.yaml 'dataset.augment=[{name: erasing, scale: [0.5, 0.1]}]'"),
    Case("dataset.cache: …; set dataset.cache_dir to another folder",
         "The cache folder is not writable.",
         "Set `dataset.cache_dir` to a writable folder.",
         "check p.yaml dataset.cache=disk dataset.cache_dir=x.yaml", code=1),
]  # fmt: skip

SOURCES = [
    Case("is not in …, and download is false",
         "The data set's files are missing.",
         "Allow the download, or put the files where the message says.",
         "check x.yaml 'dataset={name: mnist, root: nowhere, download: false}'", code=1),
    Case("not an IDX file of 3-dimensional bytes",
         "The file is damaged or of another format.",
         "Delete it, and it is downloaded again.",
         "check x.yaml 'dataset={name: mnist, root: m}'", code=1,
         files=_no_mnist),
    Case("a data file asks to run …; it was not made by CIFAR's authors",
         "A pickle that would run code is refused.",
         "Delete the file and download it from CIFAR's home page.",
         "check x.yaml 'dataset={name: cifar10, root: c}'", code=1, files=_cifar(_Touch())),
    Case("expected N x 3072 bytes and N labels, found",
         "The file is damaged or of another format.",
         "Delete it, and it is downloaded again.",
         "check x.yaml 'dataset={name: cifar10, root: c}'",
         code=1, files=_cifar({b"data": [[1]], b"labels": [1], b"label_names": [b"a"] * 10})),
    Case("no shards are named",
         "A list of shards is empty.",
         "Name at least one shard.",
         "check x.yaml 'dataset={name: webdataset, train: [], test: x.tar}'", code=1),
    Case("imagenet: there is no folder …; unpack the images as",
         "ImageNet requires registration, so cnnrun can't download it.",
         "Register at image-net.org and unpack the images as shown.",
         "check x.yaml 'dataset={name: imagenet, root: nowhere}'", code=1),
    Case("dataset.file: …: No such file",
         "The table does not exist.",
         "Check the path.",
         CSV,
         code=1),
    Case("the header has no column 'label'",
         "The first line must name the columns.",
         "Add a header such as `path,label`.",
         CSV, code=1, files=table("path,lable\na/0.png,a\n")),
    Case("table.csv:2: no path",
         "The path cell of this row is empty.",
         "Fill it in, or delete the row.",
         CSV, code=1,
         files=table("path,label\n,a\n")),
    Case("table.csv:2: 3 cells, but the header has 2",
         "This row has a different number of cells. Is there a comma in a path?",
         "Put paths that contain commas in double quotes.",
         CSV, code=1,
         files=table("path,label\na/0.png,a,b\n")),
    Case("the split is 'trian'; expected train, val or test",
         "The column `split` has an unknown value.",
         "Use one of the values shown.",
         CSV, code=1,
         files=table("path,label,split\na/0.png,a,trian\n")),
    Case("there is no file a/99.png (paths are from …)",
         "Paths are relative to the folder of the table.",
         "Correct the path, or move the table.",
         CSV, code=1,
         files=table("path,label\na/99.png,a\n")),
    Case("is not UTF-8 text",
         "The table is in an older encoding.",
         "Save it as UTF-8.",
         CSV, code=1,
         files=table(b"path,label\na/0.png,\xff\n")),
    Case("test: 0.2 of 2 images leaves none to train on or none to test on, as every class keeps "
         "one",
         "There are too few images to split.",
         "Add a column `split`, or more images.",
         CSV, code=1,
         files=table("path,label\na/0.png,a\nb/0.png,b\n")),
    Case("there are classes that training has no images of: c",
         "A class occurs only in the validation or test split.",
         "Add training images of it, or remove it.",
         CSV, code=1,
         files=table("path,label,split\na/0.png,a,train\na/1.png,c,test\n")),
    Case("there are no images to train on",
         "No row belongs to the split `train`.",
         "Check the column `split`.",
         CSV, code=1,
         files=table("path,label,split\na/0.png,a,test\n")),
    Case("no shard matches … (paths are from …)",
         "No file matches the pattern.",
         "Check the path, and quote the pattern in the shell.",
         "check x.yaml 'dataset={name: webdataset, train: \"no-*.tar\", test: x.tar}'", code=1),
    Case("shards are local files or http(s) addresses",
         "Other kinds of addresses are not supported.",
         "Copy the shards to disk, or use an `http(s)` address.",
         "check x.yaml 'dataset={name: webdataset, train: \"s3://b/x.tar\", test: x.tar}'", code=1),
    Case("not a plain tar, or a broken one",
         "The file is damaged, compressed, or not a tar file.",
         "Decompress it with gunzip, or download it again.",
         "check x.yaml 'dataset={name: webdataset, train: x.yaml, test: x.yaml}'", code=1),
    Case("target: 'mine' is neither `module:Class` nor `file.py:Class`",
         "The class is missing.",
         "Write `file.py:Class`.",
         "check x.yaml 'dataset={name: own, target: mine}'", code=1),
    Case("target: there is no file no.py (paths are from …)",
         "The path is relative to the current directory.",
         "Correct the path.",
         "check x.yaml 'dataset={name: own, target: \"no.py:Mine\"}'",
         code=1),
    Case("target: mine.py has no 'Mini'; did you mean 'Mine'?",
         "The file has no class with this name.",
         "Use the suggested name.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Mini\"}'", code=1, files=item("0")),
    Case("is not a subclass of torch.utils.data.Dataset",
         "The class is not a PyTorch data set.",
         "Derive it from `torch.utils.data.Dataset`.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Other\"}'", code=1, files=item("0")),
    Case("…: has no items",
         "Its `len()` is 0.",
         "Check what it reads.",
         "check x.yaml 'dataset={name: own, target: \"mine.py:Empty\"}'", code=1, files=item("0")),
    Case("item 0 failed at …: ZeroDivisionError: division by zero",
         "Your code raised an exception.",
         "`--debug` shows the traceback.",
         OWN, code=1, files=item("1 / 0")),
    Case("expected (image, label), found int",
         "`__getitem__` must return a pair.",
         "Return the image and its label.",
         OWN, code=1,
         files=item("3")),
    Case("the label is 1.5, not a whole number from 0 on",
         "A label is the index of a class.",
         "Number the classes from 0.",
         OWN, code=1, files=item(f"{GRAY}, 1.5")),
    Case("the image is a str, not a PIL image, numpy array or tensor",
         "`__getitem__` returned something else, such as a path.",
         "Open the image in your Dataset.",
         OWN, code=1, files=item("'a.png', 0")),
    Case("1 to 16 channels are expected",
         "The image has too many channels, or its channels are in the wrong dimension.",
         "Return a (C, H, W) tensor or an (H, W, C) array.",
         OWN, code=1,
         files=item("torch.zeros(40, 8, 8), 0")),
    Case("expected uint8 or float in 0..1",
         "The value range of other types is ambiguous.",
         "Convert the image to uint8, or to float in 0..1.",
         OWN,
         code=1, files=item("torch.zeros(1, 8, 8, dtype=torch.int64), 0")),
    Case("expected float in 0..1 (leave normalizing to cnnrun)",
         "The images are already normalized, or range up to 255.",
         "Remove `Normalize`; divide by 255.",
         OWN, code=1,
         files=item("torch.full((1, 8, 8), -3.0), 0")),
    Case("but item 0 is …; give all images one size and mode in your Dataset",
         "The images differ in size or channels.",
         "Resize them in your Dataset.",
         OWN, code=1,
         files=item("torch.zeros(1, 8 + i, 8, dtype=torch.uint8), 0")),
]  # fmt: skip
